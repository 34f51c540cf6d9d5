package switchover

import (
	"testing"
	"time"
)

// TestQuestionThatHasBecomeDueSinceTheLastStepIsNotSleptOver: a process that was
// held up between the two would else let a pause run out while the command runs.
func TestQuestionThatHasBecomeDueSinceTheLastStepIsNotSleptOver(t *testing.T) {
	c := Config{For: 30 * time.Second, Wait: 10 * time.Second, Settle: time.Minute, Give: time.Minute, Poll: time.Second, Silence: time.Minute, Command: true}
	m := New(c, 1)
	answer := func(now time.Duration, r Reply) { m, _ = m.Step(Event{Kind: Answered, Reply: r}, now) }
	m, _ = m.Step(Event{Kind: Ticked}, 0)
	wantAwake := func(phase Phase, since time.Duration) {
		t.Helper()
		if late := since + 15*time.Second; m.Phase != phase || m.Wake(late) > late {
			t.Errorf("in phase %v, wanted %v, what was due at %v: got it put off until %v; want it asked at %v", m.Phase, phase, since, m.Wake(late), late)
		}
	}
	answer(0, Reply{Outcome: Done}) // it is paused
	answer(0, Reply{Outcome: Done, Paused: true})
	wantAwake(Pausing, time.Second) // no read has named its master
	m, _ = m.Step(Event{Kind: Ticked}, time.Second)
	answer(time.Second, Reply{Outcome: Done, Paused: true, Master: "one"})
	wantAwake(Running, 11*time.Second)
	m, _ = m.Step(Event{Kind: CommandEnded}, 2*time.Second)
	answer(2*time.Second, Reply{Outcome: Done, Paused: true, Master: "one"})
	wantAwake(Settling, 3*time.Second)
}
