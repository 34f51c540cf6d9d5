package postgresql_test

import (
	"fmt"
	"time"

	"github.com/rosproxy/rosproxy/cmd/internal/patroni"
	"github.com/rosproxy/rosproxy/cmd/internal/rows"
)

// moments are when what happened.
type moments struct {
	lost     time.Time // the key, by the old leader
	held     time.Time // by the new one
	promoted time.Time
	served   map[*instance]time.Time // the first row that the new primary acknowledged
}

// change waits until the new leader has taken over and serves the writers of all instances.
func (s *scenario) change() moments {
	s.t.Helper()
	m := moments{served: map[*instance]time.Time{}}
	m.lost = s.happened("the key to be lost", func() time.Time { return s.watch.Lost(s.old, s.began) })
	m.held = s.happened(s.new.Name+" to take the key", func() time.Time { return s.watch.Held(s.new, s.began) })
	m.promoted = s.happened("the promotion of "+s.new.Name, func() time.Time { return s.watch.Promoted(s.new, s.began) })
	for i := range s.writers {
		m.served[i] = s.served(i, s.new)
	}
	return m
}

// outcome is what became of the rows of the writers through one instance.
type outcome struct {
	acked    int           // rows, from the beginning of the scenario on
	lost     []rows.Row    // of all acknowledged ones
	late     []rows.Row    // acknowledged by the old primary after the loss of the key
	lateLost []rows.Row    // of these
	cut      time.Duration // from the loss of the key to the last end of a connection to the old primary
	readOnly []rows.Failure
	longest  time.Duration // that a writer has waited
	broken   int           // connections
	servedIn time.Duration // from the promotion
}

// end stops the writers of an instance and looks for their rows on a node.
func (s *scenario) end(i *instance, m moments, on *patroni.Node) outcome {
	s.t.Helper()
	w := s.writers[i]
	w.Stop()
	o := outcome{longest: w.Count().Longest, servedIn: m.served[i].Sub(m.promoted)}
	var err error
	o.lost, err = rows.Lost(s.ctx, on.Address, table(i), w.Acked(time.Time{}))
	s.must(err)
	lost := map[rows.Row]bool{}
	for _, r := range o.lost {
		lost[r] = true
	}
	for _, r := range w.Acked(s.began) {
		o.acked++
		if r.By == s.old.Port() && r.Acked.After(m.lost) {
			o.late = append(o.late, r)
			if lost[r] {
				o.lateLost = append(o.lateLost, r)
			}
		}
	}
	for _, f := range w.Failures(s.began) {
		o.broken++
		if f.Code == rows.ReadOnly {
			o.readOnly = append(o.readOnly, f)
		}
		if f.Code == "" && f.At.Before(m.served[i]) {
			o.cut = max(o.cut, f.At.Sub(m.lost))
		}
	}
	s.t.Logf("%-7s %s", i.name+":", o.String())
	return o
}

func (o outcome) String() string {
	return fmt.Sprintf("cut %v after the loss of the key, served %v after the promotion; of %d rows %d lost; %d acknowledged after the loss, of these %d lost; "+
		"%d connections broken, %d times read-only; longest wait %v", round(o.cut), round(o.servedIn), o.acked, len(o.lost), len(o.late), len(o.lateLost),
		o.broken, len(o.readOnly), round(o.longest))
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }

// tell shows what the watch has seen.
func (s *scenario) tell(m moments) {
	s.t.Logf("the key was lost %v after the beginning, the next leader had it %v later, and was promoted %v after that",
		round(m.lost.Sub(s.began)), round(m.held.Sub(m.lost)), round(m.promoted.Sub(m.held)))
}
