package sock

import (
	"runtime"
	"testing"
	"time"
)

func newPoller(t *testing.T) (p Poller, waker int) {
	t.Helper()
	p, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	if waker, err = OpenWaker(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { Close(waker) })
	if err := p.AddWaker(waker, Token{}); err != nil {
		t.Fatal(err)
	}
	return p, waker
}

// TestTheTwoPartsOfAWaitAreNoLongerThanTheWhole: a deadline is not missed since a
// part of the wait for it was hidden.
func TestTheTwoPartsOfAWaitAreNoLongerThanTheWhole(t *testing.T) {
	for _, busy := range []bool{false, true} {
		p := Poller{busy: busy}
		for _, timeout := range []time.Duration{0, 1, attention, attention + 1, busyAttention, busyAttention + 1, time.Hour} {
			if hidden, rest := p.split(timeout); hidden+rest != timeout || hidden > busyAttention {
				t.Errorf("busy %v, %v: got %v hidden and %v; want them to be %v together, and %v hidden at most", busy, timeout, hidden, rest, timeout, busyAttention)
			}
		}
		if hidden, rest := p.split(-1); hidden > busyAttention || rest >= 0 {
			t.Errorf("busy %v, for ever: got %v hidden and %v; want %v hidden at most, and then for ever", busy, hidden, rest, busyAttention)
		}
	}
}

// TestALoopIsBusyWhileItsWaitsEndByEvents, and a look without a wait says nothing of that.
func TestALoopIsBusyWhileItsWaitsEndByEvents(t *testing.T) {
	p, waker := newPoller(t)
	events := make([]Event, 8)
	for i, step := range []struct {
		wake    bool
		timeout time.Duration
		busy    bool // afterwards
	}{
		{false, 0, false}, {true, 0, false}, {true, time.Hour, true}, {false, 0, true}, {false, time.Millisecond, false},
	} {
		if step.wake {
			Wake(waker)
		}
		if _, err := p.Wait(events, step.timeout); err != nil {
			t.Fatal(err)
		}
		ClearWake(waker)
		if p.busy != step.busy {
			t.Fatalf("after step %d, %+v: busy is %v", i, step, p.busy)
		}
	}
}

// TestOthersRunWhileABusyLoopWaits also where Go has one CPU.
func TestOthersRunWhileABusyLoopWaits(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	p, waker := newPoller(t)
	for range 3 {
		p.busy = true
		go Wake(waker)
		n := 0
		for n == 0 { // it may end by a signal
			var err error
			if n, err = p.Wait(make([]Event, 1), -1); err != nil {
				t.Fatal(err)
			}
		}
		ClearWake(waker)
	}
}
