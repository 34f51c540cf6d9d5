package switchover

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// startConfig waits long for whatever is not the test's.
var startConfig = Config{For: time.Hour, Wait: time.Minute, Settle: time.Minute, Command: true, Poll: time.Second, Silence: 10 * time.Second, Give: time.Minute}

// pausedAt is the Machine of two instances, both of which have said at 0 that they are paused.
func pausedAt(t *testing.T, c Config) Machine {
	t.Helper()
	m, _ := New(c, 2).Step(Event{Kind: Ticked}, 0)
	for i := range 2 {
		m, _ = m.Step(Event{Kind: Answered, Instance: i, Reply: Reply{Paused: true}}, 0)
	}
	if m.Instances[0].Asked != Look || m.Instances[1].Asked != Look {
		t.Fatalf("got %+v; want both asked how it goes", m.Instances)
	}
	return m
}

func isStarted(orders []Order) bool {
	return slices.ContainsFunc(orders, func(o Order) bool { return o.Kind == Start })
}

func TestCommandStartsOnlyWhenAllNameTheSameMaster(t *testing.T) {
	m := pausedAt(t, startConfig)
	look := func(i int, master string, now time.Duration) (orders []Order) {
		m, orders = m.Step(Event{Kind: Answered, Instance: i, Reply: Reply{Paused: true, Master: master}}, now)
		return orders
	}
	if look(0, "one", 0); isStarted(look(1, "two", 0)) {
		t.Fatal("the command is started while the instances name different masters")
	}
	m, _ = m.Step(Event{Kind: Ticked}, time.Second)
	given, _ := m.Step(Event{Kind: Ticked}, startConfig.Wait)
	if want := "its master is two; one elsewhere"; given.Phase != Resuming || given.Culprit != 1 || given.Why != want {
		t.Errorf("when the wait is over: got phase %v, instance %d: %q; want it given up since of 1 %q", given.Phase, given.Culprit, given.Why, want)
	}
	if !isStarted(look(1, "one", 2*time.Second)) {
		t.Error("the command is not started when both name the same")
	}
}

func TestInstanceThatIsSilentEndsThePauseBeforeTheWaitIsOver(t *testing.T) {
	m := pausedAt(t, startConfig)
	fail := func(now time.Duration) {
		m, _ = m.Step(Event{Kind: Answered, Instance: 1, Reply: Reply{Outcome: Failed, Why: "no answer"}}, now)
		m, _ = m.Step(Event{Kind: Ticked}, now+startConfig.Poll)
	}
	if fail(startConfig.Silence); m.Phase != Pausing {
		t.Fatalf("got phase %v, %q; want it asked again", m.Phase, m.Why)
	}
	if fail(startConfig.Silence + startConfig.Poll); m.Phase != Resuming || m.Culprit != 1 || !strings.Contains(m.Why, "no answer") {
		t.Errorf("got phase %v, instance %d: %q; want it given up since 1 does not answer", m.Phase, m.Culprit, m.Why)
	}
}

func TestInstanceThatRefusesThePauseIsNotToldToResume(t *testing.T) {
	m, _ := New(startConfig, 2).Step(Event{Kind: Ticked}, 0)
	m, _ = m.Step(Event{Kind: Answered, Reply: Reply{Paused: true}}, 0)
	m, orders := m.Step(Event{Kind: Answered, Instance: 1, Reply: Reply{Outcome: Refused, Why: "paused by another"}}, 0)
	if m.Phase != Resuming || m.Culprit != 1 || m.Why != "paused by another" {
		t.Fatalf("got phase %v, instance %d: %q; want it given up since 1 refuses", m.Phase, m.Culprit, m.Why)
	}
	if slices.Contains(orders, Order{Kind: Ask, Instance: 1, Request: End}) || slices.Contains(m.Left(), 1) {
		t.Errorf("got orders %v, paused still %v; want nothing asked of 1, whose pause is another's", orders, m.Left())
	}
}

// ran is the Machine whose command has ended with status.
func ran(t *testing.T, status int) Machine {
	t.Helper()
	m := pausedAt(t, startConfig)
	var orders []Order
	for i := range 2 {
		m, orders = m.Step(Event{Kind: Answered, Instance: i, Reply: Reply{Paused: true, Master: "one"}}, 0)
	}
	if !isStarted(orders) {
		t.Fatalf("got orders %v; want the command started", orders)
	}
	m, _ = m.Step(Event{Kind: CommandEnded, Status: status}, time.Second)
	return m
}

func TestAnotherMasterIsAwaitedOnlyAfterACommandThatSucceeded(t *testing.T) {
	if m := ran(t, 0); m.Phase != Settling || m.Status != 0 {
		t.Errorf("status 0: got phase %v, status %d; want another master awaited", m.Phase, m.Status)
	}
	if m := ran(t, 3); m.Phase != Resuming || m.Status != 3 {
		t.Errorf("status 3: got phase %v, status %d; want it resumed at once, with that status", m.Phase, m.Status)
	}
	if m, _ := ran(t, 0).Step(Event{Kind: Signalled}, 2*time.Second); m.Phase != Resuming || m.Status != 0 {
		t.Errorf("a signal then: got phase %v, status %d; want it resumed at once", m.Phase, m.Status)
	}
}
