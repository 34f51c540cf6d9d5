package discovery

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// TestDataCentreIsUpAsLongAsAnyAgentReadsIt: what another agent fails with is no
// trouble of the data centre, and an answer that was overtaken tells nothing.
func TestDataCentreIsUpAsLongAsAnyAgentReadsIt(t *testing.T) {
	var log bytes.Buffer
	news := make(chan struct{}, 1)
	r := newReach("dc2", news, zerolog.New(&log))
	if up, why := r.status(); up || why != "not asked yet" {
		t.Errorf("at first: got %t, %q", up, why)
	}
	start := time.Now()
	at := func(n int) time.Time { return start.Add(time.Duration(n) * time.Second) }
	refused, silent := errors.New("refused"), errors.New("no complete answer in time")
	for _, step := range []struct {
		what  string
		agent int
		began int
		err   error
		why   string // empty: it is up
		line  string // of the log
	}{
		{"the first agent fails", 1, 1, refused, "refused", "cannot be read"},
		{"it fails again, otherwise", 1, 2, silent, "no complete answer in time", ""},
		{"a read of before answers only now", 1, 1, nil, "no complete answer in time", ""},
		{"the second agent reads it", 2, 3, nil, "", "can be read again"},
		{"the first one still fails", 1, 4, silent, "", ""},
		{"a read of the second's that was overtaken has failed", 2, 2, refused, "", ""},
		{"the second fails as well", 2, 5, refused, "refused", "cannot be read"},
		{"the first reads it", 1, 6, nil, "", "can be read again"},
		{"and again", 1, 7, nil, "", ""},
	} {
		log.Reset()
		r.note(answer{agent: step.agent, began: at(step.began), arrived: at(step.began), err: step.err})
		if up, why := r.status(); up != (step.why == "") || why != step.why {
			t.Errorf("%s: got %t, %q; want %q", step.what, up, why, step.why)
		}
		told := false
		select {
		case <-news:
			told = true
		default:
		}
		changes := step.line != ""
		if told != changes || (log.Len() > 0) != changes || !strings.Contains(log.String(), step.line) {
			t.Errorf("%s: got news %t, log %q; want %q", step.what, told, log.String(), step.line)
		}
	}
}

func TestDataCentreIsRemoteOnceTheAgentsOwnIsKnownToBeAnother(t *testing.T) {
	r := newReach("dc2", make(chan struct{}, 1), nopLog)
	for _, step := range []struct {
		own  string
		want bool
	}{{"", false}, {"dc1", true}, {"dc2", false}} {
		if step.own != "" {
			r.setOwn(step.own)
		}
		if got := r.isRemote(); got != step.want {
			t.Errorf("own %q: got %t; want %t", step.own, got, step.want)
		}
	}
}
