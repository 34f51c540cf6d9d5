package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rosproxy/rosproxy/proxy"
)

// TestMaxConnsMakesTheBacklogWait: nobody is refused; who waits is served when
// another leaves.
func TestMaxConnsMakesTheBacklogWait(t *testing.T) {
	for _, shards := range []int{1, 2, 3} {
		t.Run(fmt.Sprintf("shards=%d", shards), func(t *testing.T) {
			noLeaks(t)
			c := config()
			c.Shards, c.MaxConns = shards, 4
			r := newProxy(t, c)
			r.set(newMaster(t, echo).addr)

			const clients = 40
			served := make(chan *net.TCPConn, clients)
			var g errgroup.Group
			for i := range clients {
				client := r.dial()
				g.Go(func() error {
					if err := ask(client); err != nil {
						return fmt.Errorf("client %d: %w", i, err)
					}
					served <- client
					return nil
				})
			}
			waitEqual(t, "active", c.MaxConns, r.Active)
			for left := range clients {
				client := receiveOne(t, served)
				if n := r.Active(); n > c.MaxConns {
					t.Errorf("active: got %d; want at most %d", n, c.MaxConns)
				}
				if left%2 == 0 {
					reset(t, client)
				} else {
					client.Close()
				}
			}
			if err := g.Wait(); err != nil {
				t.Error(err)
			}
			r.waitActive(0)
			wantSums(t, r)
			if n := r.state().Accepted; n != clients {
				t.Errorf("accepted: got %d; want %d", n, clients)
			}
		})
	}
}

func receiveOne[T any](t testing.TB, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(testTimeout):
		t.Fatalf("nothing came in %v", testTimeout)
		panic("unreachable")
	}
}

// TestHeldClientsLeaveRoomForOtherLabels: one label's clients that wait for a
// master fill neither max-conns nor all the room there is to wait in.
func TestHeldClientsLeaveRoomForOtherLabels(t *testing.T) {
	noLeaks(t)
	c := config()
	c.MaxConns = 16
	c.Listeners = append(c.Listeners, proxy.Listener{Label: "served", Address: "127.0.0.1:0"}, proxy.Listener{Label: "empty", Address: "127.0.0.1:0"})
	r := newProxy(t, c)
	m := newMaster(t, echo)
	r.SetMaster("served", proxy.Master{Address: m.addr})
	for range 2 * c.MaxConns {
		if client, err := dialTCP(r.addrs["default"]); err == nil { // else it was reset at once
			defer client.Close()
		}
	}
	waitUntil(t, "all are held or reset", func() bool {
		l := r.state()
		return l.Accepted == uint64(2*c.MaxConns) && l.Held+int(l.Closed[proxy.HoldOverflow]) == 2*c.MaxConns
	})
	if held := r.state().Held; held == 0 || held >= c.MaxConns*7/8 {
		t.Errorf("held for one label: got %d of %d connections; want some, and fewer than all that may be held", held, c.MaxConns)
	}
	client := r.dialLabel("served")
	if err := ask(client); err != nil {
		t.Errorf("a client of the label with a master: got %v; want to be served", err)
	}
	r.dialLabel("empty")
	waitUntil(t, "a client of the other label without a master is held", func() bool { return r.label("empty").Held == 1 })
}

// TestARetryKeepsItsPlaceInTheWaitingRoom: clients that have waited longest are
// not reset in favour of those that have just come.
func TestARetryKeepsItsPlaceInTheWaitingRoom(t *testing.T) {
	noLeaks(t)
	c := config()
	c.HoldMax = 4
	r := newProxy(t, c)
	address, open := newRefusingMaster(t)
	r.set(address)
	var first []*net.TCPConn
	for range c.HoldMax {
		first = append(first, r.dial())
	}
	r.waitHeld(c.HoldMax)
	for range 20 * c.HoldMax { // each of them while some of the first are being tried again
		if c, err := dialTCP(r.addrs["default"]); err == nil { // else it was reset at once
			c.Close()
		}
		time.Sleep(5 * time.Millisecond)
	}
	if n := r.state().DialFailures; n < uint64(2*c.HoldMax) {
		t.Fatalf("failed dials: got %d; want some of the first tried again", n)
	}
	r.waitHeld(c.HoldMax)
	open(echo)
	for _, client := range first {
		if err := ask(client); err != nil {
			t.Errorf("a client that waited from the first: got %v; want to be served", err)
		}
	}
}

// TestOutOfDescriptorsPausesAcceptingAndSpinsNot runs the proxy in a process
// with few descriptors. Clients beyond them wait, and all are served in the end.
func TestOutOfDescriptorsPausesAcceptingAndSpinsNot(t *testing.T) {
	for _, c := range []struct {
		name            string
		files, maxConns int
		clients         int
		atLeast, atMost int // served while nobody leaves
	}{
		{"limit of files", 64, 1000, 100, 8, 32},
		{"connections from the limit of files", 256, 0, 150, 40, 128},
		{"limit of connections", 1024, 10, 100, 10, 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			noLeaks(t)
			m := newMaster(t, echo)
			p := newChild(t, "proxy")
			addr := p.ask("serve %v %d %d", m.addr, c.files, c.maxConns)

			leave := make(chan struct{})
			var once sync.Once
			t.Cleanup(func() { once.Do(func() { close(leave) }) })
			served := make(chan struct{}, c.clients)
			var g errgroup.Group
			for i := range c.clients {
				client, err := dialTCP(addr)
				if err != nil {
					t.Fatalf("client %d: %v", i, err)
				}
				g.Go(func() error {
					defer client.Close()
					if err := ask(client); err != nil {
						return fmt.Errorf("client %d: %w", i, err)
					}
					served <- struct{}{}
					<-leave
					return nil
				})
			}
			for range c.atLeast {
				receiveOne(t, served)
			}
			wantLittleCPU(t, p)
			if n := c.atLeast + len(served); n > c.atMost {
				t.Errorf("served at a time: got %d; want at most %d", n, c.atMost)
			}
			once.Do(func() { close(leave) })
			if err := g.Wait(); err != nil {
				t.Error(err)
			}
			waitEqual(t, "active", "0", func() string { return p.ask("active") })
		})
	}
}

// TestOutOfDescriptorsWhileClientsAreHeldSpinsNot has accept(2) itself fail:
// no dial takes a descriptor, and nothing of the proxy's ends.
func TestOutOfDescriptorsWhileClientsAreHeldSpinsNot(t *testing.T) {
	noLeaks(t)
	p := newChild(t, "proxy")
	addr := p.ask("serve none 64 1000")
	clients := make([]*net.TCPConn, 100)
	for i := range clients {
		c, err := dialTCP(addr)
		if err != nil {
			t.Fatalf("client %d: %v", i, err)
		}
		defer c.Close()
		clients[i] = c
	}
	waitUntil(t, "most descriptors are taken", func() bool {
		n, err := strconv.Atoi(p.ask("active"))
		return err == nil && n >= 32
	})
	wantLittleCPU(t, p)
	for _, c := range clients {
		reset(t, c)
	}
	waitEqual(t, "active", "0", func() string { return p.ask("active") })
}

// wantLittleCPU measures over more than a second, in which a loop that spins
// uses all of it.
func wantLittleCPU(t testing.TB, p *child) {
	t.Helper()
	read := func() time.Duration {
		ns, err := strconv.ParseInt(p.ask("cpu"), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return time.Duration(ns)
	}
	before := read()
	time.Sleep(1500 * time.Millisecond) // what is measured is a stretch of time
	if used := read() - before; used > 500*time.Millisecond {
		t.Errorf("CPU used in 1.5 s of waiting: got %v; want little", used)
	}
}

// TestClientsOfAMasterThatHangsLeaveSlotsForOtherLabels: each waits in a
// connect that would take far longer than this test.
func TestClientsOfAMasterThatHangsLeaveSlotsForOtherLabels(t *testing.T) {
	noLeaks(t)
	c := config()
	c.Listeners = append(c.Listeners, proxy.Listener{Label: "b", Address: "127.0.0.1:0"})
	c.MaxConns = 16
	c.HoldTimeout, c.ConnectTimeout = 10*testTimeout, 10*testTimeout
	r := newProxy(t, c)
	hung, _ := newHungMaster(t)
	r.set(hung)
	r.SetMaster("b", proxy.Master{Address: newMaster(t, echo).addr})
	for range 2 * c.MaxConns {
		r.dial()
	}
	waitUntil(t, "a full proxy", func() bool { return r.state().Accepted >= uint64(c.MaxConns) })
	client := r.dialLabel("b")
	client.SetDeadline(time.Now().Add(testTimeout))
	if err := ask(client); err != nil {
		t.Errorf("a client of the other label: got %v; want it served", err)
	}
	if held := r.state().Held; held == 0 {
		t.Error("held for the label whose master hangs: got 0; want those that have a place")
	}
}

// TestShutdownCalledOffKeepsTheBacklog: those who wait for MaxConns are
// connections too, and nothing was to be cut.
func TestShutdownCalledOffKeepsTheBacklog(t *testing.T) {
	noLeaks(t)
	c := config()
	c.MaxConns = 1
	r := newProxy(t, c)
	r.set(newMaster(t, echo).addr)
	clients := make([]*net.TCPConn, 4)
	for i := range clients {
		clients[i] = r.dial()
	}
	waitEqual(t, "active", 1, r.Active)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Shutdown(ctx) }()
	time.Sleep(50 * time.Millisecond) // somewhere in the middle; no event tells
	cancel()
	if err := receiveOne(t, done); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown: got %v; want canceled", err)
	}
	if err := r.AcceptAgain(); err != nil {
		t.Fatalf("AcceptAgain: %v", err)
	}
	for i, c := range append(clients, r.dial()) {
		if err := ask(c); err != nil {
			t.Errorf("client %d: %v", i, err)
		}
		reset(t, c)
	}
	r.waitActive(0)
}

// TestShutdownsDeadlineHoldsWithABacklogThatMaxConnsKeepsWaiting: connections
// that nobody may accept must not keep a drain from ending.
func TestShutdownsDeadlineHoldsWithABacklogThatMaxConnsKeepsWaiting(t *testing.T) {
	noLeaks(t)
	c := config()
	c.MaxConns = 1
	r := newProxy(t, c)
	r.set(newMaster(t, echo).addr)
	clients := make([]*net.TCPConn, 4)
	for i := range clients {
		clients[i] = r.dial()
	}
	waitEqual(t, "active", 1, r.Active)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	within(t, "Shutdown", func() {
		if err := r.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: got %v; want deadline exceeded", err)
		}
	})
	for _, c := range clients {
		if _, how := ending(c); how != byRST {
			t.Errorf("end of a client: got %s; want %s", how, byRST)
		}
	}
	r.waitActive(0)
}
