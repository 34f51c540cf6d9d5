package admin

import (
	"context"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/proxy"
)

// startSink starts a master that reads what it is sent.
func startSink(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(io.Discard, c)
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// startProxy runs a real data plane with one listener.
func startProxy(t *testing.T) *proxy.Proxy {
	t.Helper()
	p, err := proxy.New(proxy.Config{
		Listeners: []proxy.Listener{{Label: "default", Address: "127.0.0.1:0"}}, HoldTimeout: time.Minute, Shards: 1,
	}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Serve(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return p
}

// TestFailoverIsNeverSeenAsNoMaster looks at all that tells of a master while
// connections to the old one are cut, over and over.
func TestFailoverIsNeverSeenAsNoMaster(t *testing.T) {
	p := startProxy(t)
	a, _, _ := newAdmin(t)
	a.data = p
	masters := [2]netip.AddrPort{startSink(t), startSink(t)}
	p.SetMaster("default", proxy.Master{Address: masters[0]})
	looks, cuts := 0, 0
	for begun := time.Now(); looks < 20 && time.Since(begun) < testTimeout; cuts++ {
		connectAll(t, p, 200)
		next := masters[(cuts+1)%2]
		done := make(chan struct{})
		go func() {
			defer close(done)
			p.SetMaster("default", proxy.Master{Address: next})
		}()
		for under := true; under; {
			r, err := a.readiness(probe{})
			if err != nil {
				t.Fatal(err)
			}
			s, line := a.status(time.Now()), agentSays(a, "")
			if s.Labels[0].Master == nil || r.Status != "UP" || line != "up ready\n" {
				t.Fatalf("during failover %d: got master %v, readiness %+v, agent check %q; want a master in all three", cuts, s.Labels[0].Master, r, line)
			}
			select {
			case <-done:
				under = false
			default:
				looks++ // it began and ended before the failover was over
			}
		}
		if got := a.status(time.Now()).Labels[0].Master.Address; got != next.String() {
			t.Fatalf("after failover %d: got master %s; want %s", cuts, got, next)
		}
	}
	if looks == 0 {
		t.Fatalf("got no look during %d failovers", cuts)
	}
}

// connectAll connects clients until so many have reached the master.
func connectAll(t *testing.T, p *proxy.Proxy, clients int) {
	t.Helper()
	for range clients {
		c, err := net.Dial("tcp", p.Overview().Labels[0].Listen)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
	for deadline := time.Now().Add(testTimeout); ; time.Sleep(time.Millisecond) {
		l := p.Snapshot().Labels[0]
		if l.Active >= clients && l.Held == 0 { // more: one that was being dialled was carried along
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %d connections, %d of them held; want %d", l.Active, l.Held, clients)
		}
	}
}
