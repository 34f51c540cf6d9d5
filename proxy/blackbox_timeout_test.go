package proxy_test

import (
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rosproxy/rosproxy/proxy"
)

// A timeout in these tests, and a pace of traffic that is well inside of it.
const (
	shortTimeout = 1500 * time.Millisecond
	pace         = shortTimeout / 15
)

// TestTimeoutsEndOnlyWhatIsSilent runs all its cases side by side, for each is
// mostly a wait; t.Parallel would run no more of them than there are processors.
func TestTimeoutsEndOnlyWhatIsSilent(t *testing.T) {
	noLeaks(t)
	idle := func(c *proxy.Config) { c.IdleTimeout = shortTimeout }
	halfClose := func(c *proxy.Config) { c.HalfCloseTimeout = shortTimeout }
	nothing := func(*testing.T, *net.TCPConn, *net.TCPConn) {}
	var cases sync.WaitGroup
	defer cases.Wait()
	for _, c := range []struct {
		name string
		set  func(*proxy.Config)
		// before is what happens for longer than the timeout without ending the connection
		before func(t *testing.T, client, server *net.TCPConn)
		reason proxy.Reason
	}{
		{"idle from the start", idle, nothing, proxy.Idle},
		{"idle after traffic up", idle, func(t *testing.T, c, s *net.TCPConn) { trickle(t, c, s) }, proxy.Idle},
		{"idle after traffic down", idle, func(t *testing.T, c, s *net.TCPConn) { trickle(t, s, c) }, proxy.Idle},
		{"half-closed by the client", halfClose, func(t *testing.T, c, s *net.TCPConn) {
			halfCloseOne(t, c, s)
		}, proxy.HalfClose},
		{"half-closed by the master", halfClose, func(t *testing.T, c, s *net.TCPConn) {
			halfCloseOne(t, s, c)
		}, proxy.HalfClose},
		{"half-closed by the client, and traffic down", halfClose, func(t *testing.T, c, s *net.TCPConn) {
			halfCloseOne(t, c, s)
			trickle(t, s, c)
		}, proxy.HalfClose},
		{"half-closed by the master, and traffic up", halfClose, func(t *testing.T, c, s *net.TCPConn) {
			halfCloseOne(t, s, c)
			trickle(t, c, s)
		}, proxy.HalfClose},
		{"silent after a stream, then half-closed", halfClose, func(t *testing.T, c, s *net.TCPConn) {
			var g errgroup.Group
			g.Go(func() error { return send(c, &pattern{}, 16<<20, atOnce(1<<18)) })
			if err := errors.Join(receive(s, &pattern{}, 16<<20, atOnce(1<<18)), g.Wait()); err != nil {
				t.Error(err)
			}
			time.Sleep(2 * shortTimeout) // the absence of an event: nothing to poll for
			halfCloseOne(t, c, s)
			time.Sleep(shortTimeout / 3)
			passes(t, s, c, "answer within the timeout")
		}, proxy.HalfClose},
		{"silent, but nothing is half-closed", halfClose, func(t *testing.T, c, s *net.TCPConn) {
			time.Sleep(2 * shortTimeout) // the absence of an event: nothing to poll for
			relays(t, c, s)
			halfCloseOne(t, c, s)
		}, proxy.HalfClose},
	} {
		cases.Go(func() {
			t.Run(c.name, func(t *testing.T) {
				cfg := config()
				c.set(&cfg)
				r := newProxy(t, cfg)
				m := newMaster(t, nil)
				r.set(m.addr)
				client, server := r.pair(m)
				c.before(t, client, server)
				r.wantClosed(map[proxy.Reason]uint64{c.reason: 1})
				for who, conn := range map[string]*net.TCPConn{"client": client, "master": server} {
					if data, how := ending(conn); len(data) > 0 || (how != byFIN && how != byRST) {
						t.Errorf("end of the %s's connection: got %d bytes, then %s; want the end", who, len(data), how)
					}
				}
			})
		})
	}
}

// trickle sends one way only, for longer than the timeout.
func trickle(t *testing.T, from, to *net.TCPConn) {
	t.Helper()
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for end := time.Now().Add(2 * shortTimeout); time.Now().Before(end); <-tick.C {
		passes(t, from, to, "tick")
	}
}

// halfCloseOne ends one direction and waits until that has arrived.
func halfCloseOne(t *testing.T, from, to *net.TCPConn) {
	t.Helper()
	if err := from.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, "other side", to, byFIN)
}

// TestHalfCloseTimeoutEndsByReset: who waits for an answer must not take the
// end of his testTimeout for the end of the answer.
func TestHalfCloseTimeoutEndsByReset(t *testing.T) {
	eitherWay(t, func(t *testing.T, _ *relay, _, _ *net.TCPConn, clientFirst bool) {
		c := config()
		c.HalfCloseTimeout = shortTimeout
		r := newProxy(t, c)
		m := newMaster(t, nil)
		r.set(m.addr)
		asks, answers := r.pair(m)
		if !clientFirst {
			asks, answers = answers, asks
		}
		write(t, answers, "the beginning of an answer")
		wantText(t, asks, "the beginning of an answer")
		halfCloseOne(t, asks, answers)
		wantEnd(t, "waiting side", asks, byRST)
		r.wantClosed(map[proxy.Reason]uint64{proxy.HalfClose: 1})
	})
}

// TestIdleTimeoutOfAHalfClosedConnectionEndsByReset, for the same reason.
func TestIdleTimeoutOfAHalfClosedConnectionEndsByReset(t *testing.T) {
	eitherWay(t, func(t *testing.T, _ *relay, _, _ *net.TCPConn, clientFirst bool) {
		c := config()
		c.HalfCloseTimeout = 0
		c.IdleTimeout = shortTimeout
		r := newProxy(t, c)
		m := newMaster(t, nil)
		r.set(m.addr)
		asks, answers := r.pair(m)
		if !clientFirst {
			asks, answers = answers, asks
		}
		write(t, answers, "the beginning of an answer")
		wantText(t, asks, "the beginning of an answer")
		halfCloseOne(t, asks, answers)
		wantEnd(t, "waiting side", asks, byRST)
		r.wantClosed(map[proxy.Reason]uint64{proxy.Idle: 1})
	})
}

// TestIdleTimeoutOfARequestEndsByReset: FIN would look like an empty answer.
func TestIdleTimeoutOfARequestEndsByReset(t *testing.T) {
	c := config()
	c.IdleTimeout = shortTimeout
	r := newProxy(t, c)
	m := newMaster(t, nil)
	r.set(m.addr)
	asks, answers := r.pair(m)
	write(t, asks, "request")
	wantText(t, answers, "request")
	wantEnd(t, "client", asks, byRST)
	r.wantClosed(map[proxy.Reason]uint64{proxy.Idle: 1})
}

func TestKeepAliveWatchesBothSides(t *testing.T) {
	noLeaks(t)
	for _, c := range []struct {
		keepAlive time.Duration
		want      int
	}{{time.Minute, 2}, {0, 0}} {
		cfg := config()
		cfg.KeepAlive = c.keepAlive
		r := newProxy(t, cfg)
		m := newMaster(t, nil)
		r.set(m.addr)
		client, server := r.pair(m)
		relays(t, client, server)
		clientAddr := client.LocalAddr().(*net.TCPAddr).AddrPort()
		toClient := client.RemoteAddr().(*net.TCPAddr).AddrPort() // the proxy's sockets
		toMaster := server.RemoteAddr().(*net.TCPAddr).AddrPort()
		waitEqual(t, "proxy's sockets with a keepalive timer", c.want, func() int {
			n := 0
			for _, s := range kernelSockets(t) {
				// The masters' own sockets have one as well, with the ports the other way round.
				ours := s.local == toClient && s.remote == clientAddr || s.local == toMaster && s.remote == m.addr
				if ours && s.state == tcpEstablished && s.timer == keepaliveTimer {
					n++
				}
			}
			return n
		})
	}
}
