package proxy

import (
	"net/netip"
	"testing"
	"time"
)

// TestAttemptsAreSpreadAtRandom: the clients of a master that is back do not
// come in step.
func TestAttemptsAreSpreadAtRandom(t *testing.T) {
	_, s := stopped(t, Config{}, nopLog)
	for attempt, longest := range map[uint8]time.Duration{1: 20 * time.Millisecond, 4: 160 * time.Millisecond, 16: time.Second} {
		least, most := longest, time.Duration(0)
		for range 1000 {
			d := s.backoff(attempt)
			least, most = min(least, d), max(most, d)
		}
		if least < longest/2 || most > longest || most-least < longest/4 {
			t.Errorf("attempt %d comes after %v to %v; want anything between %v and %v", attempt+1, least, most, longest/2, longest)
		}
	}
}

func TestNoAttemptBeginsWhenTheHoldTimeoutIsOver(t *testing.T) {
	p, s := stopped(t, Config{HoldTimeout: time.Second}, nopLog)
	p.labels[0].current.Store(newEpoch(1, Master{Address: netip.MustParseAddrPort(echo(t))}))
	c, _ := s.adopt(t, held)
	c.dials = 1
	c.waiting -= int64(time.Second)
	s.timers.arm(c.index, c.holdDeadline(s.loop))
	s.now = s.clock.now()
	s.expire()
	if got := s.counters[0].closed; got[ConnectFailed] != 1 {
		t.Errorf("closed by reason: got %v; want one that could not be connected", got)
	}
	if got := s.counters[0].dialFailures; got != [len(dialErrors)]uint64{} {
		t.Errorf("failed dials: got %v; want none", got)
	}
}
