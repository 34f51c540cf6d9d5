package proxy_test

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/proxy"
)

// paced serves "default" at a pace.
func paced(t *testing.T, rate int) *relay {
	t.Helper()
	c := config()
	c.ReleaseRate = rate
	return newProxy(t, c)
}

// holds connects n clients, one after the other, and returns when all are held.
func (r *relay) holds(n int) (clients []*net.TCPConn) {
	r.t.Helper()
	for range n {
		clients = append(clients, r.dial())
	}
	r.waitHeld(n)
	return clients
}

// arrivals is a master that notes when each connection was accepted.
func arrivals(t *testing.T) (at netip.AddrPort, times <-chan time.Time) {
	t.Helper()
	noted := make(chan time.Time, 1024)
	m := newMaster(t, func(c *net.TCPConn) {
		noted <- time.Now()
		echo(c)
	})
	return m.addr, noted
}

// wantPaced checks that of n connections that began at begun or later none came
// before its time.
func wantPaced(t *testing.T, begun time.Time, rate, n int, times <-chan time.Time) {
	t.Helper()
	var all []time.Time
	for range n {
		select {
		case at := <-times:
			all = append(all, at)
		case <-time.After(testTimeout):
			t.Fatalf("connections to the master: got %d; want %d", len(all), n)
		}
	}
	slices.SortFunc(all, time.Time.Compare)
	for i, at := range all {
		if least := time.Second * time.Duration(i) / time.Duration(rate); at.Sub(begun) < least {
			t.Fatalf("connection %d at %d a second: got it after %v; want it after %v at the earliest", i, rate, at.Sub(begun), least)
		}
	}
}

// TestHeldClientsAreReleasedAtTheRate: by all shards together.
func TestHeldClientsAreReleasedAtTheRate(t *testing.T) {
	noLeaks(t)
	const rate, clients = 40, 60
	r := paced(t, rate)
	held := r.holds(clients)
	at, times := arrivals(t)
	begun := time.Now()
	r.set(at)
	wantPaced(t, begun, rate, clients, times)
	for i, c := range held {
		if err := ask(c); err != nil {
			t.Errorf("client %d: %v", i, err)
		}
	}
	r.waitHeld(0)
	r.wantClosed(nil)
}

// TestClientsCarriedFromDialsAreReleasedAtTheRate: as those that were held.
func TestClientsCarriedFromDialsAreReleasedAtTheRate(t *testing.T) {
	noLeaks(t)
	const rate, clients = 20, 20
	c := config()
	c.ReleaseRate, c.ConnectTimeout = rate, 2*testTimeout
	r := newProxy(t, c)
	hung, _ := newHungMaster(t)
	r.set(hung)
	var carried []*net.TCPConn
	for range clients {
		carried = append(carried, r.dial())
	}
	r.waitState("dialing", clients)
	at, times := arrivals(t)
	begun := time.Now()
	if cut := r.set(at); cut.Carried != clients {
		t.Errorf("carried: got %d; want %d", cut.Carried, clients)
	}
	wantPaced(t, begun, rate, clients, times)
	for i, c := range carried {
		if err := ask(c); err != nil {
			t.Errorf("client %d: %v", i, err)
		}
	}
	r.wantClosed(nil)
}

// TestClientsWhoWaitForTheSameMasterToComeBackAreReleasedAtTheRate.
func TestClientsWhoWaitForTheSameMasterToComeBackAreReleasedAtTheRate(t *testing.T) {
	noLeaks(t)
	const rate, clients = 40, 20
	r := paced(t, rate)
	at, times := arrivals(t)
	r.set(at)
	r.Lose("default", proxy.Loss{})
	r.holds(clients)
	begun := time.Now()
	r.set(at)
	wantPaced(t, begun, rate, clients, times)
}

// TestNewcomersAreServedBehindTheHeld: they neither overtake nor starve, though
// more come than the rate lets go.
func TestNewcomersAreServedBehindTheHeld(t *testing.T) {
	noLeaks(t)
	const rate, clients, newcomers = 20, 20, 60
	r := paced(t, rate)
	r.holds(clients)
	at, times := arrivals(t)
	var served atomic.Int64
	begun := time.Now()
	r.set(at)
	for i := range newcomers {
		c := r.dial()
		go func() {
			if err := ask(c); err != nil {
				t.Errorf("newcomer %d: %v", i, err)
			}
			served.Add(1)
		}()
	}
	wantPaced(t, begun, rate, clients, times)
	waitEqual(t, "newcomers served", newcomers, served.Load)
	r.waitHeld(0)
	if err := ask(r.dial()); err != nil { // and at once: nobody waits
		t.Errorf("the next one: %v", err)
	}
}

// TestClientThatLeavesBeforeItsTurnIsNoticed: by FIN as by RST.
func TestClientThatLeavesBeforeItsTurnIsNoticed(t *testing.T) {
	noLeaks(t)
	r := paced(t, 1)
	held := r.holds(6)
	at, times := arrivals(t)
	r.set(at)
	<-times
	reset(t, held[3])
	held[4].Close()
	held[5].Close()
	waitUntil(t, "clients that left to be noticed", func() bool { return r.state().Active <= 3 })
	begun := time.Now()
	<-times // and the others come
	if err := ask(held[1]); err != nil {
		t.Error(err)
	}
	if passed := time.Since(begun); passed > testTimeout {
		t.Errorf("after %v", passed)
	}
}

// TestMasterThatIsLostDuringTheReleaseHoldsTheRest: they go to the next.
func TestMasterThatIsLostDuringTheReleaseHoldsTheRest(t *testing.T) {
	noLeaks(t)
	r := paced(t, 2)
	held := r.holds(12)
	first, firstTimes := arrivals(t)
	r.set(first)
	<-firstTimes
	r.Lose("default", proxy.Loss{})
	waitEqual(t, "clients dialed", 0, func() int {
		n := 0
		for _, c := range r.Connections(proxy.Filter{}) {
			if c.State == "dialing" {
				n++
			}
		}
		return n
	})
	rest := r.state().Held
	time.Sleep(1100 * time.Millisecond) // two of them
	if got := r.state().Held; got != rest || rest < 4 {
		t.Errorf("held while there is no master: got %d, then %d; want the same, and some of 12", rest, got)
	}
	second := newMaster(t, announce('Y'))
	r.set(second.addr)
	served := 0
	for _, c := range held {
		first := make([]byte, 1)
		switch _, err := c.Read(first); {
		case err == nil && first[0] == 'Y':
			served++
		case !errors.Is(err, syscall.ECONNRESET): // those that had reached the first
			t.Errorf("got %q, %v; want it served by the second master, or reset", first, err)
		}
	}
	if served != rest {
		t.Errorf("served by the second master: got %d of 12; want the %d that had not reached the first", served, rest)
	}
}

// TestHoldTimeoutEndsWhoseTurnComesTooLate: there is a master, and a queue.
func TestHoldTimeoutEndsWhoseTurnComesTooLate(t *testing.T) {
	noLeaks(t)
	c := config()
	c.ReleaseRate, c.HoldTimeout = 1, 3*time.Second
	r := newProxy(t, c)
	r.holds(10)
	r.set(newMaster(t, echo).addr)
	r.waitHeld(0)
	s := r.state()
	if s.Closed[proxy.NoMaster] < 5 || s.Active == 0 {
		t.Errorf("closed %d, active %d; want most of 10 closed, and the first served", s.Closed[proxy.NoMaster], s.Active)
	}
}

// TestNewcomerForWhomThereIsNoRoomBehindTheHeldIsReset: as while there is no master.
func TestNewcomerForWhomThereIsNoRoomBehindTheHeldIsReset(t *testing.T) {
	noLeaks(t)
	c := config()
	c.ReleaseRate, c.HoldMax = 1, 20
	r := newProxy(t, c)
	r.holds(20)
	r.set(newMaster(t, echo).addr)
	waitUntil(t, "an overflow", func() bool {
		if c, err := dialTCP(r.addrs["default"]); err == nil { // it may be reset as soon as this
			t.Cleanup(func() { c.Close() })
		}
		return r.state().Closed[proxy.HoldOverflow] > 0
	})
}

// TestLabelHasAPaceOfItsOwn: the other's clients do not wait for it.
func TestLabelHasAPaceOfItsOwn(t *testing.T) {
	c := config()
	p := own(t, c, proxy.Settings{HoldTimeout: testTimeout, ReleaseRate: 2})
	for range 10 {
		p.dialLabel("own")
		p.dial()
	}
	waitEqual(t, "held", 20, func() int { return p.state().Held + p.label("own").Held })
	m, times := arrivals(t)
	other := newMaster(t, echo)
	begun := time.Now()
	p.SetMaster("own", proxy.Master{Address: m})
	p.set(other.addr)
	p.waitHeld(0)
	wantPaced(t, begun, 2, 3, times)
}
