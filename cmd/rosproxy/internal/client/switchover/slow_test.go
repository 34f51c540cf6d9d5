package switchover

import (
	"strings"
	"testing"
	"time"
)

// TestCommandStartsOnlyWhereAnswersAreInTimeToKeepThePause: it would else run while
// clients are connected again.
func TestCommandStartsOnlyWhereAnswersAreInTimeToKeepThePause(t *testing.T) {
	const length = 6 * time.Second
	for _, c := range []struct {
		first, takes time.Duration // the first answer, and each after it
		want         bool
	}{
		{0, 0, true},
		{length / 10, length / 10, true},
		{length/4 + length/20, length/4 + length/20, true},
		{length / 3, length / 3, false},
		{length / 2, length / 2, false},
		{0, length / 3, true},
		{0, length / 2, false},
	} {
		takes := c.first
		m := New(Config{For: length, Wait: 10 * length, Command: true, Poll: length / 6, Silence: 3 * length, Give: 3 * length}, 1)
		m, orders := m.Step(Event{Kind: Ticked}, 0)
		arrived, started := time.Duration(0), false // when the end was last moved on, if requests arrive at once
		for now := time.Duration(0); now < 12*length && m.Phase < Resuming; {
			asks := false
			for _, o := range orders {
				asks = asks || o.Kind == Ask
				started = started || o.Kind == Start
				if o.Kind == Ask && (o.Request == Begin || o.Request == Move) {
					if late := now + takes; started && late >= arrived+length {
						t.Errorf("answers take %v: the end is moved on at %v, and the pause was over at %v", takes, late, arrived+length)
					}
					arrived = now
				}
			}
			if asks {
				now += takes
				takes = c.takes
				m, orders = m.Step(Event{Kind: Answered, Reply: Reply{Paused: true, Master: "10.0.0.1:5432"}}, now)
				continue
			}
			now = max(m.Wake(now), now+1)
			m, orders = m.Step(Event{Kind: Ticked}, now)
		}
		if started != c.want {
			t.Errorf("the first answer takes %v, the others %v: got the command started: %v; want %v", c.first, takes, started, c.want)
		}
		if !started && !strings.Contains(m.Why, "take too long") {
			t.Errorf("answers take %v: got %q; want that they take too long", takes, m.Why)
		}
	}
}
