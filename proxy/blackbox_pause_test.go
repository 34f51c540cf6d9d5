package proxy_test

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/proxy"
)

// bootTime is the time that Confirm is given in. The proxy's own clock, which
// asks the kernel once, is ahead of it by microseconds: what has happened before the
// call lies further back than that.
func bootTime(t testing.TB) time.Duration {
	time.Sleep(time.Millisecond)
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

// confirmed serves "default", whose masters must be confirmed. asked counts how
// often that was asked for.
func confirmed(t *testing.T, c proxy.Config) (r *relay, asked *atomic.Int64) {
	t.Helper()
	asked = new(atomic.Int64)
	c.Listeners[0].Revalidate = -1
	c.OnPause = func() { asked.Add(1) }
	return newProxy(t, c), asked
}

// pause pauses "default" for a minute and checks how many are live.
func (r *relay) pause(live int) {
	r.t.Helper()
	s, err := r.Pause("default", proxy.PauseOrder{By: "op", For: time.Minute})
	if err != nil {
		r.t.Fatalf("Pause: %v", err)
	}
	if s.Live != live || s.By != "op" || time.Until(s.Ends) < 30*time.Second {
		r.t.Errorf("Pause: got %+v; want %d live, of op, for a minute", s, live)
	}
}

func (r *relay) resume() {
	r.t.Helper()
	if err := r.Resume("default", ""); err != nil {
		r.t.Fatalf("Resume: %v", err)
	}
}

// wantServed checks that a held client gets its answer.
func wantServed(t *testing.T, clients ...*net.TCPConn) {
	t.Helper()
	for i, c := range clients {
		if err := ask(c); err != nil {
			t.Errorf("client %d after the pause: %v", i, err)
		}
	}
}

func TestPausedLabelHoldsTheNewAndKeepsTheLive(t *testing.T) {
	noLeaks(t)
	c := config()
	c.Listeners = append(c.Listeners, proxy.Listener{Label: "other", Address: "127.0.0.1:0"})
	r := newProxy(t, c)
	m := newMaster(t, nil)
	r.set(m.addr)
	r.SetMaster("other", proxy.Master{Address: newMaster(t, echo).addr})
	client, server := r.pair(m)
	relays(t, client, server) // or the dial might be taken back that the master has just accepted
	r.pause(1)
	late := r.dial()
	r.waitHeld(1)
	m.wantNone()
	relays(t, client, server)
	if got := r.Pauses(); len(got) != 1 || got[0].Label != "default" || got[0].Live != 1 || got[0].Held != 1 {
		t.Errorf("pauses: got %+v; want default alone, 1 live and 1 held", got)
	}
	other := r.dialLabel("other")
	wantServed(t, other)
	r.resume()
	relays(t, late, m.next())
	r.wantClosed(nil)
	if got := r.Pauses(); len(got) != 0 {
		t.Errorf("pauses after Resume: got %+v; want none", got)
	}
}

// TestHoldTimeDoesNotRunOutInAPause: and counts from its end, for those who
// were held before it as well. Where nobody is held at all, a pause holds.
func TestHoldTimeDoesNotRunOutInAPause(t *testing.T) {
	for name, hold := range map[string]time.Duration{"short": time.Second, "none": 0} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			c := config()
			c.HoldTimeout = hold
			r := newProxy(t, c)
			var held []*net.TCPConn
			if hold > 0 {
				held = r.holds(2) // for want of a master
			}
			r.pause(0)
			held = append(held, r.dial(), r.dial())
			time.Sleep(2*hold + 100*time.Millisecond)
			r.waitHeld(len(held))
			r.set(newMaster(t, echo).addr)
			wantServed(t, held...)
			r.wantClosed(nil)
		})
	}
}

func TestHoldTimeCountsFromTheEndOfAPause(t *testing.T) {
	noLeaks(t)
	c := config()
	c.HoldTimeout = 100 * time.Millisecond
	r, _ := confirmed(t, c)
	r.set(newMaster(t, echo).addr)
	r.pause(0)
	r.holds(3)
	r.resume() // and no read names the master
	r.wantClosed(map[proxy.Reason]uint64{proxy.NoMaster: 3})
}

// TestClientsOfAPauseGoToTheMasterOfAReadThatBeganAfterItsEnd, whatever ends it.
func TestClientsOfAPauseGoToTheMasterOfAReadThatBeganAfterItsEnd(t *testing.T) {
	for name, end := range map[string]func(*relay, netip.AddrPort){
		"resumed": func(r *relay, _ netip.AddrPort) { r.resume() },
		"over": func(r *relay, _ netip.AddrPort) {
			if _, err := r.Pause("default", proxy.PauseOrder{By: "op", For: 50 * time.Millisecond}); err != nil {
				r.t.Fatal(err)
			}
		},
		"another master": func(r *relay, next netip.AddrPort) { r.set(next) },
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			r, asked := confirmed(t, config())
			m, next := newMaster(t, echo), newMaster(t, echo)
			r.set(m.addr)
			r.pause(0)
			held := r.holds(2)
			began := asked.Load()
			before := bootTime(t)
			end(r, next.addr)
			waitUntil(t, "the end of the pause", func() bool { return r.state().Unconfirmed })
			waitUntil(t, "a read asked for", func() bool { return asked.Load() > began })
			r.Confirm("default", before)
			time.Sleep(100 * time.Millisecond)
			r.waitHeld(2)
			late := r.dial()
			r.waitHeld(3)
			r.Confirm("default", bootTime(t))
			wantServed(t, append(held, late)...)
			r.wantClosed(nil)
		})
	}
}

// TestPauseEndsWithAnotherMasterAlone: not with the loss of the one before, nor
// with its return.
func TestPauseEndsWithAnotherMasterAlone(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	old, next := newMaster(t, echo), newMaster(t, echo)
	r.set(old.addr)
	r.pause(0)
	held := r.dial()
	r.waitHeld(1)
	for _, cut := range []bool{false, true} {
		r.Lose("default", proxy.Loss{Cut: cut})
		r.set(old.addr)
	}
	time.Sleep(50 * time.Millisecond)
	if got := len(r.Pauses()); got != 1 {
		t.Fatalf("pauses after the same master came back: got %d; want 1", got)
	}
	r.waitHeld(1)
	r.Lose("default", proxy.Loss{Cut: true})
	r.set(next.addr)
	if got := len(r.Pauses()); got != 0 {
		t.Errorf("pauses after another master was set: got %d; want none", got)
	}
	wantServed(t, held)
	if got := r.state().Master.Address; got != next.addr {
		t.Errorf("master: got %v; want %v", got, next.addr)
	}
}

// TestDialUnderWayIsTakenBackByAPause: when Pause returns, nobody reaches the
// master any more.
func TestDialUnderWayIsTakenBackByAPause(t *testing.T) {
	noLeaks(t)
	c := config()
	c.ConnectTimeout = 2 * testTimeout
	r := newProxy(t, c)
	hung, _ := newHungMaster(t)
	r.set(hung)
	client := r.dial()
	r.waitState("dialing", 1)
	r.pause(0)
	r.waitState("dialing", 0)
	r.waitHeld(1)
	r.set(newMaster(t, echo).addr)
	wantServed(t, client)
}

func TestPauseIsItsOwners(t *testing.T) {
	r := newProxy(t, config())
	r.pause(0)
	first := r.Pauses()[0]
	var other *proxy.PausedError
	if _, err := r.Pause("default", proxy.PauseOrder{By: "else", For: time.Minute}); !errors.As(err, &other) || other.By != "op" {
		t.Errorf("Pause by another: got %v; want it refused, with op's name", err)
	}
	if err := r.Resume("default", "else"); !errors.As(err, &other) {
		t.Errorf("Resume by another: got %v; want it refused", err)
	}
	s, err := r.Pause("default", proxy.PauseOrder{By: "op", For: time.Hour})
	if err != nil || s.Until < first.Until+30*time.Minute || s.Began != first.Began {
		t.Errorf("Pause by the same: got %+v, %v; want a later end and the same begin", s, err)
	}
	if s, err := r.Pause("default", proxy.PauseOrder{By: "op", For: time.Minute, Move: true}); err != nil || time.Until(s.Ends) > 2*time.Minute {
		t.Errorf("move of the end: got %+v, %v; want it in a minute", s, err)
	}
	if err := r.Resume("default", "op"); err != nil || len(r.Pauses()) != 0 {
		t.Errorf("Resume by the same: got %v, pauses %v; want none", err, r.Pauses())
	}
	if err := r.Resume("default", ""); err != nil {
		t.Errorf("Resume of a label that is not paused: got %v; want no error", err)
	}
	if _, err := r.Pause("default", proxy.PauseOrder{By: "op", For: time.Minute, Move: true}); !errors.Is(err, proxy.ErrNotPaused) || len(r.Pauses()) != 0 {
		t.Errorf("move of the end of a pause that is over: got %v, pauses %+v; want it refused, and none", err, r.Pauses())
	}
	if _, err := r.Pause("nobody", proxy.PauseOrder{For: time.Minute}); !errors.Is(err, proxy.ErrUnknownLabel) {
		t.Errorf("Pause of an unknown label: got %v; want ErrUnknownLabel", err)
	}
}

// TestClientsOfAPauseAreReleasedAtTheRate: as after a loss.
func TestClientsOfAPauseAreReleasedAtTheRate(t *testing.T) {
	noLeaks(t)
	const rate, clients = 40, 30
	c := config()
	c.ReleaseRate = rate
	r, _ := confirmed(t, c)
	at, times := arrivals(t)
	r.set(at)
	r.pause(0)
	held := r.holds(clients)
	r.resume()
	begun := time.Now()
	r.Confirm("default", bootTime(t))
	wantPaced(t, begun, rate, clients, times)
	wantServed(t, held...)
	r.wantClosed(nil)
}

// TestPauseClosesTheQuiet: each by FIN, but not one that waits for an answer.
func TestPauseClosesTheQuiet(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	m := newMaster(t, nil)
	r.set(m.addr)
	idle, its := r.pair(m)
	relays(t, idle, its)
	asking, answers := r.pair(m)
	passes(t, asking, answers, "a long statement")
	if _, err := r.Pause("default", proxy.PauseOrder{By: "op", For: time.Minute, CloseQuiet: true}); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, "client", idle, byFIN)
	wantEnd(t, "master", its, byFIN)
	idle.Close()
	its.Close()
	waitEqual(t, "live", 1, func() int { return r.Pauses()[0].Live })
	time.Sleep(500 * time.Millisecond) // ten times the silence in which others are closed
	passes(t, answers, asking, "done")
	wantEnd(t, "client", asking, byFIN)
	waitEqual(t, "live", 0, func() int { return r.Pauses()[0].Live }) // though the peers do not end
	r.wantClosed(map[proxy.Reason]uint64{proxy.Killed: 2})
}

// TestPauseClosesTheBusyAsWell: one that always talks, between two messages.
func TestPauseClosesTheBusyAsWell(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	r.set(newMaster(t, echo).addr)
	c := r.dial()
	wantServed(t, c)
	ended := make(chan int, 1)
	go func() {
		n := 0
		for ; ask(c) == nil; n++ {
			time.Sleep(10 * time.Millisecond)
		}
		c.Close()
		ended <- n
	}()
	if _, err := r.Pause("default", proxy.PauseOrder{By: "op", For: time.Minute, CloseQuiet: true}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(testTimeout):
		t.Fatalf("a busy client is still connected %v after the pause began", testTimeout)
	}
	waitEqual(t, "live", 0, func() int { return r.Pauses()[0].Live })
}

// TestPauseNamesTheMasterOfAReadThatBeganAfterIt.
func TestPauseNamesTheMasterOfAReadThatBeganAfterIt(t *testing.T) {
	r, asked := confirmed(t, config())
	m := newMaster(t, echo)
	r.set(m.addr)
	r.Confirm("default", bootTime(t))
	before := bootTime(t)
	r.pause(0)
	if asked.Load() == 0 {
		t.Error("nobody was asked for a read when the pause began")
	}
	named := func() netip.AddrPort { return r.Pauses()[0].Named.Address }
	r.Confirm("default", before)
	if got := named(); got.IsValid() {
		t.Errorf("named by a read that began before: got %v; want nobody", got)
	}
	r.Confirm("default", bootTime(t))
	if got := named(); got != m.addr {
		t.Errorf("named: got %v; want %v", got, m.addr)
	}
	for _, cut := range []bool{true, false} {
		r.Lose("default", proxy.Loss{Cut: cut})
		if got := named(); got.IsValid() {
			t.Errorf("cut %t: named after the loss: got %v; want nobody", cut, got)
		}
		r.set(m.addr)
		if got := named(); got.IsValid() {
			t.Errorf("cut %t: named when it came back by a read of before: got %v; want nobody", cut, got)
		}
		r.Confirm("default", bootTime(t))
		if got := named(); got != m.addr {
			t.Errorf("cut %t: named again: got %v; want %v", cut, got, m.addr)
		}
	}
}

// TestNextGenerationTakesThePausesOver: with their begin and end, and a master
// that was elected meanwhile ends them.
func TestNextGenerationTakesThePausesOver(t *testing.T) {
	noLeaks(t)
	first := newProxy(t, config())
	m, next := newMaster(t, echo), newMaster(t, echo)
	first.set(m.addr)
	first.pause(0)
	was := first.Pauses()[0].Pause

	second := newProxy(t, config())
	second.set(m.addr)
	gone := was
	gone.Label = "a label that it has no more"
	second.Adopt([]proxy.Pause{was, gone})
	held := second.dial()
	second.waitHeld(1)
	if got := second.Pauses(); len(got) != 1 || got[0].Pause != was {
		t.Fatalf("pauses: got %+v; want %+v", got, was)
	}
	second.Adopt(nil)
	wantServed(t, held)

	third := newProxy(t, config())
	third.set(next.addr)
	third.Adopt([]proxy.Pause{was})
	if got := third.Pauses(); len(got) != 0 {
		t.Errorf("pauses where another master was elected: got %+v; want none", got)
	}
	wantServed(t, third.dial())
	over := was
	over.Until = bootTime(t) - time.Second
	second.Adopt([]proxy.Pause{over})
	waitUntil(t, "the end of a pause whose time is over", func() bool { return len(second.Pauses()) == 0 })
}

func TestPauseAndItsEndAreLogged(t *testing.T) {
	var log lines
	p, err := proxy.New(config(), zerolog.New(&log))
	if err != nil {
		t.Fatal(err)
	}
	r := serve(t, p)
	r.pause(0)
	r.pause(0)
	r.resume()
	r.resume()
	if _, err := r.Pause("default", proxy.PauseOrder{By: "op", For: 50 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	want := `"message":"paused" "message":"resumed" "reason":"resumed" "message":"paused" "message":"resumed" "reason":"its time is over"`
	waitEqual(t, "log", want, func() string { return pausesLogged(log.String()) })
}

// pausesLogged is what log says of the pauses of the label "default", in order.
func pausesLogged(log string) string {
	var out []string
	for line := range strings.Lines(log) {
		for _, m := range []string{`"message":"paused"`, `"message":"resumed"`, `"reason":"resumed"`, `"reason":"its time is over"`} {
			if strings.Contains(line, m) && strings.Contains(line, `"level":"info"`) && strings.Contains(line, `"label":"default"`) {
				out = append(out, m)
			}
		}
	}
	return strings.Join(out, " ")
}
