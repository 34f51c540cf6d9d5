package proxy_test

import (
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/proxy"
)

// Who is dead and who is not, on a network that loses packets.

// What the proxies of these tests are told, and what that promises: a peer
// that is gone is found after both together when nothing is on its way to it,
// and after the user timeout when something is.
const (
	cableKeepAlive   = 2 * time.Second
	cableUserTimeout = 3 * time.Second
	// cableSlack is for a machine that is busy with other things.
	cableSlack = 10 * time.Second
)

// sideBySide runs f for each case at once: most of their time they wait.
func sideBySide[C any](t *testing.T, cases []C, name func(C) string, f func(t *testing.T, c C)) {
	var g sync.WaitGroup
	defer g.Wait()
	for _, c := range cases {
		g.Go(func() { t.Run(name(c), func(t *testing.T) { f(t, c) }) })
	}
}

func TestPulledCableIsFoundInTheTimeThatTheTimeoutsPromise(t *testing.T) {
	type situation struct {
		name   string
		before func(t *testing.T, near, far *net.TCPConn) // far is the one whose cable is pulled
		after  func(t *testing.T, near, far *net.TCPConn)
		within time.Duration
		never  time.Duration // before this
	}
	nothing := func(*testing.T, *net.TCPConn, *net.TCPConn) {}
	situations := []situation{
		{"idle", nothing, nothing, cableKeepAlive + cableUserTimeout, cableUserTimeout},
		{"bytes in flight", nothing, func(t *testing.T, near, _ *net.TCPConn) { write(t, near, "lost") }, cableUserTimeout, cableUserTimeout},
		{"bytes in flight after a long silence", func(*testing.T, *net.TCPConn, *net.TCPConn) {
			time.Sleep(3 * cableUserTimeout) // it counts for nothing
		}, func(t *testing.T, near, _ *net.TCPConn) { write(t, near, "lost") }, cableUserTimeout, cableUserTimeout},
		{"bytes in flight after a pause", func(t *testing.T, near, far *net.TCPConn) {
			time.Sleep(600 * time.Millisecond)
			passes(t, near, far, "once more")
			time.Sleep(500 * time.Millisecond)
		}, func(t *testing.T, near, _ *net.TCPConn) { write(t, near, "lost") }, cableUserTimeout, cableUserTimeout},
		{"a stream in flight", nothing, func(t *testing.T, near, _ *net.TCPConn) {
			if err := send(near, &pattern{}, 100_000, atOnce(1<<16)); err != nil {
				t.Error(err)
			}
		}, cableUserTimeout, cableUserTimeout},
		{"a closed window", func(t *testing.T, near, _ *net.TCPConn) {
			stall(t, near)
			time.Sleep(3 * cableUserTimeout) // alive as long as it answers
		}, nothing, closedWindowTimeout(t), cableUserTimeout / 2},
		{"a window that was taken back", func(t *testing.T, near, far *net.TCPConn) {
			if err := far.SetReadBuffer(smallWindow / 4); err != nil {
				t.Error(err)
			}
			stall(t, near)
		}, nothing, 3 * cableUserTimeout, cableUserTimeout / 2},
	}
	type test struct {
		situation
		client bool
	}
	var tests []test
	for _, s := range situations {
		tests = append(tests, test{s, true}, test{s, false})
	}
	onWire(t, func(t *testing.T, w *wire) {
		sideBySide(t, tests, func(c test) string { return fmt.Sprintf("%s client=%v", c.name, c.client) }, func(t *testing.T, c test) {
			cfg := wireConfig()
			cfg.KeepAlive, cfg.UserTimeout = cableKeepAlive, cableUserTimeout
			r := newProxy(t, cfg)
			m := w.master()
			r.set(m.addr)
			client := w.dial(r)
			server := m.next()
			relays(t, client, server)
			near, far, reason := server, client, proxy.ClientReset
			if !c.client {
				near, far, reason = client, server, proxy.MasterReset
			}
			c.before(t, near, far)
			if n := r.state().Active; n != 1 {
				t.Fatalf("before the cable is pulled: got %d connections; want 1", n)
			}
			pulled := time.Now()
			w.pull(hostOf(far))
			c.after(t, near, far)
			r.wantClosed(map[proxy.Reason]uint64{reason: 1})
			took := time.Since(pulled)
			t.Logf("found after %v; promised: %v", took.Round(time.Millisecond), c.within)
			if took > c.within+cableSlack || took < c.never-100*time.Millisecond {
				t.Errorf("found after %v; want from %v to %v", took, c.never, c.within)
			}
			if _, how := ending(near); how != byRST {
				t.Errorf("end of the other side: got %s; want %s", how, byRST)
			}
		})
	})
}

// stall writes until nothing more goes.
func stall(t *testing.T, c *net.TCPConn) {
	t.Helper()
	if _, err := sendUntilBlocked(c, &pattern{}, atOnce(1<<16)); err != nil {
		t.Error(err)
	}
}

// closedWindowTimeout is how long it may take to find a peer dead that had
// closed its window: the kernel's probes may be minutes apart where their
// pace cannot be set.
func closedWindowTimeout(t *testing.T) time.Duration {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(os.NewSyscallError("socket", err))
	}
	defer unix.Close(fd)
	const rtoMaxMS = 44 // TCP_RTO_MAX_MS, since Linux 6.15
	if unix.SetsockoptInt(fd, unix.IPPROTO_TCP, rtoMaxMS, 1000) != nil {
		return 3 * time.Minute
	}
	return cableUserTimeout
}

// TestLostKeepaliveProbesEndNothing loses every probe but the last one that a
// peer has to answer.
func TestLostKeepaliveProbesEndNothing(t *testing.T) {
	onWire(t, func(t *testing.T, w *wire) {
		cfg := wireConfig()
		cfg.KeepAlive, cfg.UserTimeout = time.Second, 5*time.Second // five probes, a second apart
		r := newProxy(t, cfg)
		m := w.master()
		r.set(m.addr)
		client := w.dial(r)
		server := m.next()
		relays(t, client, server)

		const losable = 4
		lost := map[string]int{}
		w.drop(func(p packet) bool {
			if p.from != proxyHost {
				return false // no peer says anything of itself
			}
			lost[p.to.String()]++
			return lost[p.to.String()] <= losable
		})
		waitEqual(t, "probes lost", 2*losable, w.lost)
		time.Sleep(3 * time.Second) // for what the last one could not save
		if n := r.state().Active; n != 1 {
			t.Fatalf("connections: got %d; want 1", n)
		}
		relays(t, client, server)
	})
}

// TestLossOfOnePacketInTwentyEndsNothing has connections that are idle, some
// whose window is closed, and some that talk.
func TestLossOfOnePacketInTwentyEndsNothing(t *testing.T) {
	onWire(t, func(t *testing.T, w *wire) {
		cfg := wireConfig()
		cfg.KeepAlive, cfg.UserTimeout = time.Second, 10*time.Second
		r := newProxy(t, cfg)
		m := w.master()
		r.set(m.addr)
		type pair struct{ client, server *net.TCPConn }
		open := func(n int) (pairs []pair) {
			for range n {
				p := pair{w.dial(r), m.next()}
				relays(t, p.client, p.server)
				pairs = append(pairs, p)
			}
			return pairs
		}
		idle, stalled, talking := open(40), open(8), open(8)
		const size = 1 << 20
		var g errgroup.Group
		for _, p := range stalled {
			g.Go(func() error { return send(p.server, &pattern{}, size, atOnce(1<<16)) })
		}
		w.drop(losing(20))
		end := time.Now().Add(15 * time.Second)
		for _, p := range talking {
			g.Go(func() error {
				go func() { // an echo
					for b := make([]byte, 1); ; {
						if n, _ := p.server.Read(b); n == 0 {
							return
						}
						_, _ = p.server.Write(b)
					}
				}()
				for ; time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
					if err := ask(p.client); err != nil {
						return err
					}
				}
				return nil
			})
		}
		time.Sleep(time.Until(end)) // what is measured is a stretch of time
		if got, want := r.state().Active, len(idle)+len(stalled)+len(talking); got != want {
			t.Errorf("connections after %d lost packets: got %d; want %d", w.lost(), got, want)
		}
		for _, p := range stalled {
			g.Go(func() error { return receive(p.client, &pattern{}, size, atOnce(1<<16)) })
		}
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
		for _, p := range idle {
			relays(t, p.client, p.server)
		}
	})
}

// TestDeadMasterTakesNothingFromItsClient pulls the cable of a master, part of
// whose answer has arrived and waits for the client in all sockets on the way.
func TestDeadMasterTakesNothingFromItsClient(t *testing.T) {
	onWire(t, func(t *testing.T, w *wire) {
		sideBySide(t, []bool{false, true}, func(asked bool) string { return fmt.Sprint("asked=", asked) }, func(t *testing.T, asked bool) {
			cfg := wireConfig()
			cfg.KeepAlive, cfg.UserTimeout = time.Second, 3*time.Second
			r := newProxy(t, cfg)
			m := w.master()
			r.set(m.addr)
			client := w.dial(r)
			server := m.next()
			relays(t, client, server)
			sent, err := sendUntilBlocked(server, &pattern{}, atOnce(1<<14))
			if err != nil {
				t.Fatal(err)
			}
			arrived := sent - unsent(t, server)
			w.pull(hostOf(server))
			if asked {
				write(t, client, "more?")
			}
			time.Sleep(9 * time.Second) // until the master has been found dead
			if err := receive(client, &pattern{}, arrived, atOnce(1<<16)); err != nil {
				t.Fatal(err)
			}
			wantEnd(t, "client", client, byRST)
			r.wantClosed(map[proxy.Reason]uint64{proxy.MasterReset: 1})
		})
	})
}
