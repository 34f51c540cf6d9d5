package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/rosproxy/rosproxy/proxy"
)

// wantRefused fails unless a connect is refused right now.
func (r *relay) wantRefused() {
	r.t.Helper()
	c, err := dialTCP(r.addrs["default"])
	if err == nil {
		c.Close()
		r.t.Fatalf("connect while not accepting: got a connection; want it refused")
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		r.t.Fatalf("connect while not accepting: got %v; want it refused", err)
	}
}

func TestStopAcceptingKeepsTheLiveAndRefusesTheNew(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	m := newMaster(t, nil)
	r.set(m.addr)
	client, server := r.pair(m)
	if !r.Snapshot().Accepting {
		t.Error("accepting at first: got false; want true")
	}
	for range 3 {
		r.StopAccepting()
		r.StopAccepting() // again is no change
		r.wantRefused()
		if r.Snapshot().Accepting {
			t.Error("accepting while stopped: got true; want false")
		}
		relays(t, client, server)
		if err := r.AcceptAgain(); err != nil {
			t.Fatalf("AcceptAgain: %v", err)
		}
		if err := r.AcceptAgain(); err != nil {
			t.Fatalf("AcceptAgain again: got %v; want nil", err)
		}
		if !r.Snapshot().Accepting {
			t.Error("accepting again: got false; want true")
		}
		late, its := r.pair(m)
		relays(t, late, its)
	}
	r.wantClosed(nil)
}

// TestStopAcceptingLosesNoConnectionThatWasMade: every connect that succeeded gets its
// answer, whatever the moment at which the listeners closed.
func TestStopAcceptingLosesNoConnectionThatWasMade(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	r.set(newMaster(t, echo).addr)

	const stops = 20
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var served, refused atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for i := range 16 {
		g.Go(func() error {
			for ctx.Err() == nil {
				switch ok, err := visit(ctx, r.addrs["default"], i); {
				case err != nil:
					return err
				case ok:
					served.Add(1)
				default:
					refused.Add(1)
					time.Sleep(200 * time.Microsecond) // the machine has other work
				}
			}
			return nil
		})
	}
	for range stops {
		before := served.Load()
		waitUntil(t, "clients served", func() bool { return served.Load() > before+50 || ctx.Err() != nil })
		within(t, "StopAccepting", r.StopAccepting)
		r.wantRefused()
		if err := r.AcceptAgain(); err != nil {
			t.Fatalf("AcceptAgain: %v", err)
		}
	}
	r.StopAccepting()
	r.wantRefused()
	stop()
	if err := g.Wait(); err != nil {
		t.Errorf("%v (after %d served, %d refused)", err, served.Load(), refused.Load())
	}
	r.waitActive(0)
	wantSums(t, r)
}

// visit connects, asks and leaves; ok is false when the connect was refused or
// not answered in time, which is no connection either.
// Each visitor has a source address of its own, so that no port runs out.
func visit(ctx context.Context, addr string, visitor int) (ok bool, err error) {
	d := net.Dialer{Timeout: 500 * time.Millisecond, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+visitor))}}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if errors.Is(err, syscall.ECONNREFUSED) || os.IsTimeout(err) || ctx.Err() != nil && err != nil {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("connect: %w", err)
	}
	c := conn.(*net.TCPConn)
	defer c.Close()
	c.SetDeadline(time.Now().Add(testTimeout))
	c.SetLinger(0)
	if err := ask(c); err != nil {
		return false, fmt.Errorf("connection that was made: %w", err)
	}
	return true, nil
}

// TestConnectionsInTheBacklogSurviveStopAccepting has them wait there: accepting is
// stopped by MaxConns when the listeners are to close.
// TestStopAcceptingWaitsForNobodyWhoDoesNotAccept: the queue that it waits for is
// emptied by none but Serve.
func TestStopAcceptingWaitsForNobodyWhoDoesNotAccept(t *testing.T) {
	noLeaks(t)
	t.Run("before Serve", func(t *testing.T) {
		p, err := proxy.New(config(), zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		waits, err := dialTCP(p.Snapshot().Labels[0].Listen)
		if err != nil {
			t.Fatal(err)
		}
		defer waits.Close()
		within(t, "StopAccepting", p.StopAccepting)
	})
	t.Run("when Serve ends meanwhile", func(t *testing.T) {
		c := config()
		c.MaxConns = 1
		r := newProxy(t, c)
		r.dial()
		r.waitActive(1)
		waits := r.dial()
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			r.StopAccepting()
		}()
		waitUntil(t, "the port refuses new handshakes", func() bool {
			late, err := net.DialTimeout("tcp", r.addrs["default"], 100*time.Millisecond)
			if err == nil {
				late.Close()
			}
			return err != nil
		})
		r.stop()
		within(t, "StopAccepting", func() { <-stopped })
		waits.Close()
	})
}

func TestConnectionsInTheBacklogSurviveStopAccepting(t *testing.T) {
	noLeaks(t)
	c := config()
	c.MaxConns = 2
	r := newProxy(t, c)
	r.set(newMaster(t, echo).addr)
	clients := make([]*net.TCPConn, 12)
	for i := range clients {
		clients[i] = r.dial()
	}
	waitEqual(t, "active", c.MaxConns, r.Active)
	var g errgroup.Group
	g.Go(func() error { r.StopAccepting(); return nil })
	time.Sleep(500 * time.Millisecond) // longer than handshakes under way are waited for: nobody leaves, and no event tells
	for i, c := range clients {
		g.Go(func() error {
			if err := ask(c); err != nil {
				return fmt.Errorf("client %d: %w", i, err)
			}
			return c.Close()
		})
	}
	within(t, "StopAccepting and the clients", func() {
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
	r.wantRefused()
	r.waitActive(0)
}

func TestShutdownReturnsWhenTheLastConnectionHasEnded(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	m := newMaster(t, nil)
	r.set(m.addr)
	client, server := r.pair(m)
	done := make(chan error, 1)
	go func() { done <- r.Shutdown(context.Background()) }()
	waitUntil(t, "not accepting", func() bool { return !r.Snapshot().Accepting })
	relays(t, client, server)
	select {
	case err := <-done:
		t.Fatalf("Shutdown with a live connection: returned %v; want it to wait", err)
	default:
	}
	client.Close()
	wantEnd(t, "master", server, byFIN)
	server.Close()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Shutdown: got %v; want nil", err)
		}
	case <-time.After(testTimeout):
		t.Fatal("Shutdown: no return after the last connection ended")
	}
	if n := r.Active(); n != 0 {
		t.Errorf("active: got %d; want 0", n)
	}
}

func TestShutdownOfAnIdleProxyReturnsAtOnce(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	within(t, "Shutdown", func() {
		if err := r.Shutdown(context.Background()); err != nil {
			t.Errorf("Shutdown: got %v; want nil", err)
		}
	})
	r.wantRefused()
}

func TestShutdownsDeadlineCutsTheRest(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	m := newMaster(t, nil)
	r.set(m.addr)
	client, server := r.pair(m)
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	within(t, "Shutdown", func() {
		if err := r.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: got %v; want deadline exceeded", err)
		}
	})
	wantEnd(t, "client", client, byRST)
	wantEnd(t, "master", server, byRST)
	r.wantClosed(map[proxy.Reason]uint64{proxy.DrainDeadline: 1})
	r.waitActive(0)
}

func TestShutdownsDeadlineCutsTheHeldToo(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	client := r.dial()
	r.waitHeld(1)
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	within(t, "Shutdown", func() {
		if err := r.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: got %v; want deadline exceeded", err)
		}
	})
	wantEnd(t, "client", client, byRST)
	r.wantClosed(map[proxy.Reason]uint64{proxy.DrainDeadline: 1})
	r.waitActive(0)
}

// TestShutdownCalledOffCutsNothing: and afterwards the proxy can accept again.
func TestShutdownCalledOffCutsNothing(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	m := newMaster(t, nil)
	r.set(m.addr)
	client, server := r.pair(m)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Shutdown(ctx) }()
	waitUntil(t, "not accepting", func() bool { return !r.Snapshot().Accepting })
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Shutdown: got %v; want canceled", err)
		}
	case <-time.After(testTimeout):
		t.Fatal("Shutdown: no return after its context was cancelled")
	}
	relays(t, client, server)
	if err := r.AcceptAgain(); err != nil {
		t.Fatalf("AcceptAgain: %v", err)
	}
	late, its := r.pair(m)
	relays(t, late, its)
	relays(t, client, server)
	r.wantClosed(nil)
}

func TestFailoverIsObeyedWhileShuttingDown(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	old, young := newMaster(t, nil), newMaster(t, nil)
	r.set(old.addr)
	client, server := r.pair(old)
	relays(t, client, server)
	done := make(chan error, 1)
	go func() { done <- r.Shutdown(context.Background()) }()
	waitUntil(t, "not accepting", func() bool { return !r.Snapshot().Accepting })

	if cut := r.set(young.addr); cut.Dropped != 1 {
		t.Errorf("dropped: got %d; want 1", cut.Dropped)
	}
	wantNoSockets(t, old.addr)
	wantEnd(t, "client", client, byRST)
	wantEnd(t, "old master", server, byRST)
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Shutdown: got %v; want nil", err)
		}
	case <-time.After(testTimeout):
		t.Fatal("Shutdown: no return after the failover had cut the last connection")
	}
}

func TestClientsHeldWhileNotAcceptingAreServed(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	client := r.dial()
	r.waitHeld(1)
	r.StopAccepting()
	m := newMaster(t, nil)
	if cut := r.set(m.addr); cut.Carried != 1 {
		t.Errorf("carried: got %d; want 1", cut.Carried)
	}
	relays(t, client, m.next())
}
