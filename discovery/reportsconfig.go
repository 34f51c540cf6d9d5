package discovery

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/rosproxy/rosproxy/discovery/fence"
	"github.com/rosproxy/rosproxy/discovery/internal/reporter"
	"github.com/rosproxy/rosproxy/discovery/internal/text"
)

// Reports says where a process reports what it has obeyed; see package fence.
type Reports = reporter.Config

// validateReports says what is wrong with c, which may be nil.
func validateReports(c *Reports) error {
	if c == nil {
		return nil
	}
	if err := CheckReportPrefix(c.Prefix); err != nil {
		return fmt.Errorf("fence reports below %s: %w", text.Quoted(c.Prefix), err)
	}
	if err := CheckInstance(c.Instance); err != nil {
		return fmt.Errorf("the instance %s: %w", text.Quoted(c.Instance), err)
	}
	if c.TTL < fence.MinTTL || c.TTL > fence.MaxTTL {
		return fmt.Errorf("a TTL of %v of fence reports is not from %v to %v", c.TTL, fence.MinTTL, fence.MaxTTL)
	}
	return nil
}

// Bounds of what the key of a fence report is made of, in bytes.
const (
	MaxReportPrefix = 256
	MaxInstance     = 128
)

// CheckReportPrefix says what is wrong with a prefix of fence reports: nil when
// nothing is. Consul's API must serve the keys below it.
func CheckReportPrefix(prefix string) error {
	segments := strings.Split(prefix, "/")
	switch {
	case prefix == "":
		return errors.New("the prefix is empty")
	case len(prefix) > MaxReportPrefix:
		return fmt.Errorf("the prefix is longer than %d bytes", MaxReportPrefix)
	case !prints(prefix):
		return errors.New("the prefix has a character that does not print, which Consul refuses")
	case segments[0] == "":
		return errors.New("the prefix begins with a slash; Consul's keys do not")
	case segments[len(segments)-1] == "":
		return errors.New("the prefix ends with a slash, which is put behind it anyhow")
	case slices.Contains(segments, "") || slices.Contains(segments, ".") || slices.Contains(segments, ".."):
		return errors.New("the prefix has a part that is empty, . or .., for which Consul answers with another key")
	}
	return nil
}

// CheckReportedLabels says what is wrong with reporting of labels below one prefix: nil
// when nothing is. They are in one entry, which must not be too long for Consul whatever
// it says.
func CheckReportedLabels(labels []string) error {
	e := fence.Entry{Instance: strings.Repeat("x", MaxInstance), Boot: reporter.BootID(), TTL: fence.MaxTTL.Seconds(), Beat: 1 << 40, Labels: make(map[string]fence.State, len(labels))}
	for _, l := range labels {
		e.Labels[l] = fence.State{Obeyed: 1 << 40, Term: 1 << 30, Elsewhere: true}
	}
	if n := len(e.Encode()); n > fence.MaxEntry {
		return fmt.Errorf("a report of its %d labels may take %d KiB, and Consul keeps %d in a key: give some of them another prefix", len(labels), n>>10, fence.MaxEntry>>10)
	}
	return nil
}

// CheckInstance says what is wrong with a process's name in its fence reports:
// nil when nothing is.
func CheckInstance(name string) error {
	switch {
	case name == "":
		return errors.New("the name is empty")
	case len(name) > MaxInstance:
		return fmt.Errorf("the name is longer than %d bytes", MaxInstance)
	case strings.Contains(name, "/"):
		return errors.New("the name has a slash, with which Consul's keys are divided")
	case !prints(name) || strings.Contains(name, " "):
		return errors.New("the name has a character that is no letter, digit or sign")
	}
	return nil
}

// prints reports whether all of s does.
func prints(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError })
}
