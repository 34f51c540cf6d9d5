package admin

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
)

// probe is what a balancer wants to know: whether these labels are ready.
type probe struct {
	labels        []string      // these alone count; none: all of them
	hold          time.Duration // a label that lost its master less than this ago counts as ready
	whileDraining int           // the code that tells of a drain
}

// takeQuery reads a request's query: label, hold, draining. What else stands
// there is ignored: balancers add what they like. It is taken apart by hand,
// since url.ParseQuery leaves out what it cannot read, and a hold that was left
// out would be none.
func (p *probe) takeQuery(query string) error {
	var said []string
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if !slices.Contains(probeWords, name) {
			continue
		}
		plain, err := url.QueryUnescape(value)
		if err != nil {
			return fmt.Errorf("%s %q: %w", name, shortened(value), err)
		}
		said = append(said, name+"="+plain)
	}
	return p.take(said)
}

// takeLine reads the line that an agent check has sent, HAProxy's agent-send:
// words as label=europe and hold=8s. Any other text asks for nothing.
func (p *probe) takeLine(line string) error {
	return p.take(slices.DeleteFunc(strings.Fields(line), func(word string) bool {
		name, _, found := strings.Cut(word, "=")
		return !found || !slices.Contains(probeWords, name) || name == wordDraining // its answer has a word for a drain already
	}))
}

// What a probe may say.
const (
	wordLabel    = "label"
	wordHold     = "hold"
	wordDraining = "draining"
)

var probeWords = []string{wordLabel, wordHold, wordDraining}

// take reads words of the form name=value.
func (p *probe) take(words []string) error {
	*p = probe{whileDraining: http.StatusServiceUnavailable}
	said := map[string]bool{}
	for _, w := range words {
		name, value, _ := strings.Cut(w, "=")
		if said[name] && name != wordLabel {
			return fmt.Errorf("%s %q: given twice", name, shortened(value))
		}
		said[name] = true
		var err error
		switch name {
		case wordLabel:
			p.labels = append(p.labels, value)
		case wordHold:
			p.hold, err = parseHold(value)
		case wordDraining:
			p.whileDraining, err = drainingCode(value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func parseHold(value string) (time.Duration, error) {
	d, err := time.ParseDuration(value)
	switch {
	case err != nil:
		return 0, fmt.Errorf("hold %q: not a duration such as 500ms or 8s", shortened(value))
	case d < 0:
		return 0, fmt.Errorf("hold %q: negative", shortened(value))
	}
	return d, nil
}

// drainingCode reads with which code a balancer wants to be told of a drain:
// HAProxy takes 404 for "no new sessions, the live ones stay"
// (http-check disable-on-404), and all else for a server that is down.
func drainingCode(value string) (int, error) {
	switch value {
	case "404":
		return http.StatusNotFound, nil
	case "503":
		return http.StatusServiceUnavailable, nil
	}
	return 0, fmt.Errorf("draining %q: neither 404 nor 503", shortened(value))
}

// counts reports whether the answer depends on label.
func (p *probe) counts(label string) bool {
	return len(p.labels) == 0 || slices.Contains(p.labels, label)
}

// shortened is text that somebody sent, fit for the answer.
func shortened(text string) string { return config.Trim(text, maxShown) }

const maxShown = 100
