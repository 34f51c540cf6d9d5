package proxy_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/proxy"
)

// TestPlacesOfHeldClientsComeBack: whatever a held client's wait ended by,
// another may have its place.
func TestPlacesOfHeldClientsComeBack(t *testing.T) {
	noLeaks(t)
	c := config()
	c.HoldMax = 3
	r := newProxy(t, c)
	m := newMaster(t, announce('M'))
	hold := func() []*net.TCPConn {
		t.Helper()
		clients := make([]*net.TCPConn, c.HoldMax)
		for i := range clients {
			clients[i] = r.dial()
		}
		r.waitHeld(c.HoldMax) // none of them was one too many
		return clients
	}
	for _, way := range []struct {
		name string
		end  func(clients []*net.TCPConn)
	}{
		{"the client resets", func(clients []*net.TCPConn) {
			for _, c := range clients {
				reset(t, c)
			}
		}},
		{"the client closes", func(clients []*net.TCPConn) {
			for _, c := range clients {
				c.Close()
			}
		}},
		{"an order to end them", func([]*net.TCPConn) { r.Kill("default") }},
		{"a master", func(clients []*net.TCPConn) {
			r.set(m.addr)
			for _, c := range clients {
				wantText(t, c, "M")
			}
			r.SetMaster("default", proxy.Master{})
		}},
		{"the deadline of a drain", func([]*net.TCPConn) {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			r.Shutdown(ctx)
			if err := r.AcceptAgain(); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		way.end(hold())
		r.waitActive(0)
		hold()
		if n := r.state().Closed[proxy.HoldOverflow]; n != 0 {
			t.Fatalf("ended as one too many to be held, after %s: got %d; want 0", way.name, n)
		}
		r.Kill("default")
	}
}

// TestClientsThatSayNothingLeaveSlotsForOtherLabels: each has far longer for its
// header than this test takes.
func TestClientsThatSayNothingLeaveSlotsForOtherLabels(t *testing.T) {
	noLeaks(t)
	c := accepting()
	c.Listeners = append(c.Listeners, proxy.Listener{Label: "b", Address: "127.0.0.1:0"})
	c.MaxConns = 16
	p, err := proxy.New(c, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	p.SetHeaderTimeout(10 * testTimeout)
	r := serve(t, p)
	m := newMaster(t, echo)
	r.SetMaster("default", proxy.Master{Address: m.addr})
	r.SetMaster("b", proxy.Master{Address: m.addr})
	var silent []*net.TCPConn
	for range 2 * c.MaxConns {
		silent = append(silent, r.dial())
	}
	waitUntil(t, "all to be accepted, and those without a place to be reset", func() bool {
		l := r.state()
		return l.Accepted == uint64(len(silent)) && l.Held > 0 && l.Held+int(l.Closed[proxy.HoldOverflow]) == len(silent)
	})
	client := r.dialLabel("b")
	write(t, client, headerV1)
	if err := ask(client); err != nil {
		t.Errorf("a client of the other label: got %v; want it served", err)
	}

	// One that speaks after all is served, and gives its place back.
	held := r.state().Held
	served := 0
	for _, s := range silent {
		if _, err := s.Write([]byte(headerV1)); err == nil && ask(s) == nil {
			served++
		}
	}
	if served != held {
		t.Errorf("served of those that had a place: got %d; want %d", served, held)
	}
	r.waitHeld(0)
}

// TestHoldTimeoutOfZeroHoldsNobodyForAMoment: many clients at once are no more
// than one, since none of them waits.
func TestHoldTimeoutOfZeroHoldsNobodyForAMoment(t *testing.T) {
	noLeaks(t)
	c := config()
	c.HoldTimeout, c.HoldMax, c.Shards = 0, 1, 1
	p, err := proxy.New(c, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	clients := make([]*net.TCPConn, 30) // all in the queue when the shard begins
	for i := range clients {
		if clients[i], err = dialTCP(p.Snapshot().Labels[0].Listen); err != nil {
			t.Fatal(err)
		}
		defer clients[i].Close()
	}
	r := serve(t, p)
	for _, c := range clients {
		wantEnd(t, "client", c, byRST)
	}
	r.wantClosed(map[proxy.Reason]uint64{proxy.NoMaster: uint64(len(clients))})
}

// TestHoldTimeoutEndsAnAttemptToConnect that may take far longer by itself.
func TestHoldTimeoutEndsAnAttemptToConnect(t *testing.T) {
	noLeaks(t)
	c := config()
	c.HoldTimeout, c.ConnectTimeout = 300*time.Millisecond, 10*testTimeout
	r := newProxy(t, c)
	addr, callers := newHungMaster(t)
	r.set(addr)
	begin := time.Now()
	wantEnd(t, "client", r.dial(), byRST)
	if waited := time.Since(begin); waited < c.HoldTimeout {
		t.Errorf("waited for %v; want at least %v", waited, c.HoldTimeout)
	}
	r.wantClosed(map[proxy.Reason]uint64{proxy.ConnectFailed: 1})
	if n := callers(); n != 0 {
		t.Errorf("sockets still connecting: got %d; want 0", n)
	}
}

// TestAnotherMasterIsTriedAsOftenAsIfThereHadBeenNoneBefore: what the last one
// refused does not count against it.
func TestAnotherMasterIsTriedAsOftenAsIfThereHadBeenNoneBefore(t *testing.T) {
	for name, thenItHangs := range map[string]bool{"a client that is held": false, "a client whose dial hangs": true} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			// After eight failures two attempts are at least half a second apart,
			// so that four take three times that; a new master sees its first four
			// in 150 ms. Only a machine that stands still makes that look like the
			// other, and not each time.
			const bound = 1500 * time.Millisecond
			for try := 1; ; try++ {
				took, ok := timeOfFourAttempts(t, 8, thenItHangs)
				if ok && took < bound {
					return
				}
				if try == 5 {
					t.Fatalf("four attempts at the next master took %v; want less than %v", took, bound)
				}
			}
		})
	}
}

// timeOfFourAttempts has a client's dials fail so many times, then hang if
// asked for, and measures what four attempts at the next master take. It is
// not ok when the client got in before the master hung.
func timeOfFourAttempts(t *testing.T, failures uint64, thenItHangs bool) (took time.Duration, ok bool) {
	t.Helper()
	c := config()
	c.HoldTimeout, c.ConnectTimeout = 10*testTimeout, 10*testTimeout
	r := newProxy(t, c)
	fd, old := boundSocket(t)
	t.Cleanup(func() { unix.Close(fd) })
	r.set(old)
	r.dial()
	waitUntil(t, "many failed dials", func() bool { return r.state().DialFailures >= failures })
	if thenItHangs {
		if err := unix.Listen(fd, 0); err != nil {
			t.Fatal(err)
		}
		fillBacklog(t, old)
		state := ""
		waitUntil(t, "the next dial", func() bool {
			state = r.Connections(proxy.Filter{})[0].State
			return state != "held"
		})
		if state != "dialing" {
			return 0, false
		}
	}
	young, _ := newRefusingMaster(t)
	before := r.state().DialFailures
	begin := time.Now()
	r.set(young)
	waitUntil(t, "four attempts at the next master", func() bool { return r.state().DialFailures >= before+4 })
	return time.Since(begin), true
}
