package reporter

import (
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/discovery/fence"
	"github.com/rosproxy/rosproxy/discovery/internal/clock"
)

// standing is a Reporter whose entry stands by a write that began at begun, with the label a
// that has joined it. Nothing is written.
func standing(begun time.Duration) *Reporter {
	r := New(Config{Prefix: "p", Instance: "i", TTL: fence.MinTTL}, "", nil, zerolog.Nop())
	r.Join("a", fence.State{}, make(chan struct{}, 1), func() {})
	r.beat = r.beat.Begin(begun, r.revision)
	r.beat = r.beat.Answered(begun, r.beat.Pending, 7)
	s := r.labels["a"]
	s.LabelLease = s.Stand(begun, r.beat)
	return r
}

// TestLapseComesBeforeAnAnswer: the lease of the label is over, and a read that began
// before its end has been answered since.
func TestLapseComesBeforeAnAnswer(t *testing.T) {
	now := clock.SinceBoot()
	lease := fence.LeaseOf(fence.MinTTL)
	r := standing(now - 2*lease)
	if s := r.labels["a"]; s.Stood == 0 {
		t.Fatal("the label does not stand")
	}
	s := r.labels["a"]
	s.LabelLease = s.Look(now - lease - time.Second)
	r.beat = r.beat.Begin(now-time.Second, r.revision)
	r.beat.Begun = now - time.Second // the writes went on, and the reads did not
	if got := r.Look("a", now-2*time.Second); !got.Over {
		t.Errorf("got %+v; want it over", got)
	}
}

// TestLabelJoinsTheLifeThatLasts: it would else be over as soon as it is looked at.
func TestLabelJoinsTheLifeThatLasts(t *testing.T) {
	r := standing(clock.SinceBoot() - fence.MinTTL)
	life := r.beat.Life
	r.Join("b", fence.State{}, make(chan struct{}, 1), func() {})
	if got := r.Look("b", 0); !got.Joined || got.Over || r.beat.Life != life+1 {
		t.Errorf("got %+v in life %d; want it in life %d", got, r.beat.Life, life+1)
	}
	if got := r.Look("a", 0); !got.Over {
		t.Errorf("got %+v of the label that was in the life before; want it over", got)
	}
}

// TestEntryThatIsLeftBehindIsNotForgotten where nothing is reported any more.
func TestEntryThatIsLeftBehindIsNotForgotten(t *testing.T) {
	r := New(Config{Prefix: "p", Instance: "i", TTL: fence.MinTTL}, "", nil, zerolog.Nop())
	if _, idle := r.next(); !idle {
		t.Error("got something to write without a label; want nothing")
	}
	r.stale = []string{"p/i-1-x"}
	if _, idle := r.next(); idle {
		t.Error("got nothing to do; want the entry taken away after the next write")
	}
}
