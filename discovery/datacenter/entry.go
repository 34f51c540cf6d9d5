package datacenter

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Entry is the value of the key that names the active data centre.
type Entry struct {
	Active  string   `json:"active"`  // empty: nobody
	Term    uint64   `json:"term"`    // the highest counts
	By      string   `json:"by"`      // who wrote it, for people
	Without []string `json:"without"` // data centres that could not be asked when it was written, and were forced
}

// Bounds of an entry.
const (
	MaxEntry = 64 << 10 // bytes
	// MaxTerm leaves room for the terms of an activation, and is exact in every
	// program that reads JSON numbers as floating point.
	MaxTerm  = 1<<53 - 16
	maxName  = 64 // of a data centre; Consul takes no longer label of a DNS name
	maxNames = 64
	maxBy    = 256
)

// Encode is e as it is kept.
func (e Entry) Encode() []byte {
	if e.Without == nil {
		e.Without = []string{}
	}
	b, err := json.Marshal(e)
	if err != nil {
		panic("encode an entry: " + err.Error()) // no value of these types fails
	}
	return b
}

// Equal reports whether e and f say the same, whoever wrote them.
func (e Entry) Equal(f Entry) bool {
	return e.Active == f.Active && e.Term == f.Term && slices.Equal(e.Without, f.Without)
}

// IsWithout reports whether e was written without dc.
func (e Entry) IsWithout(dc string) bool { return slices.Contains(e.Without, dc) }

// Parse understands the value of an entry. Names are in lower case, as Consul has them.
func Parse(value []byte) (Entry, error) {
	if len(value) > MaxEntry {
		return Entry{}, fmt.Errorf("longer than %d KiB", MaxEntry>>10)
	}
	var e struct {
		Active  *string  `json:"active"`
		Term    *uint64  `json:"term"`
		By      string   `json:"by"`
		Without []string `json:"without"`
	}
	if err := json.Unmarshal(value, &e); err != nil {
		return Entry{}, errors.New("not the JSON of an active data centre")
	}
	switch {
	case e.Active == nil:
		return Entry{}, errors.New(`it has no "active"`)
	case e.Term == nil:
		return Entry{}, errors.New(`it has no "term"`)
	case *e.Term == 0 || *e.Term > MaxTerm:
		return Entry{}, fmt.Errorf("its term is not from 1 to %d", uint64(MaxTerm))
	case len(e.Without) > maxNames:
		return Entry{}, fmt.Errorf("it was written without more than %d data centres", maxNames)
	}
	out := Entry{Active: strings.ToLower(*e.Active), Term: *e.Term, By: printable(e.By)}
	if out.Active != "" {
		if err := CheckName(out.Active); err != nil {
			return Entry{}, fmt.Errorf("the active data centre: %w", err)
		}
	}
	for _, dc := range e.Without {
		dc = strings.ToLower(dc)
		if err := CheckName(dc); err != nil {
			return Entry{}, fmt.Errorf("a data centre that it was written without: %w", err)
		}
		out.Without = append(out.Without, dc)
	}
	slices.Sort(out.Without)
	out.Without = slices.Compact(out.Without)
	if out.IsWithout(out.Active) {
		return Entry{}, errors.New("the active data centre is among those that it was written without")
	}
	return out, nil
}

// CheckName says what is wrong with the name of a data centre: nil when nothing is.
// Consul takes letters, digits, dashes and underscores (agent/config: validate).
func CheckName(dc string) error {
	if dc == "" {
		return errors.New("the name is empty")
	}
	if len(dc) > maxName {
		return fmt.Errorf("the name is longer than %d bytes", maxName)
	}
	for _, r := range dc {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' {
			return fmt.Errorf("the name has a %q, and Consul takes letters, digits, dashes and underscores", r)
		}
	}
	return nil
}

// printable is s, which anybody may have written, fit for a terminal.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	for len(s) > maxBy {
		s = strings.ToValidUTF8(s[:maxBy], "")
	}
	return s
}
