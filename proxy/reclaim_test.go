package proxy

import (
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// twoGenerations are a proxy that has released its listener, and the one that took it over.
func twoGenerations(t *testing.T) (first, second *Proxy, endSecond func(), address string) {
	t.Helper()
	first, _ = on(t, Listener{Address: "127.0.0.1:0"}, Config{Shards: 2})
	address = first.Snapshot().Labels[0].Listen
	second, endSecond = handOver(t, first, Config{Shards: 2})
	roundTrip(t, dialed(t, address), []byte("x"))
	return first, second, endSecond, address
}

func wantRefused(t *testing.T, address string) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err == nil {
		c.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial: got %v; want it refused", err)
	}
}

func TestReleasedListenersAreAcceptedFromAgainAfterAReclaim(t *testing.T) {
	first, _, endSecond, address := twoGenerations(t)
	endSecond() // as its death would: nothing is done to the sockets
	waiting := dialed(t, address)
	if err := first.Reclaim(); err != nil {
		t.Fatalf("reclaim: %v", err)
	}
	roundTrip(t, waiting, []byte("x"))
	for range 100 {
		roundTrip(t, dialed(t, address), []byte("x"))
	}
	if err := first.Reclaim(); err == nil {
		t.Error("second reclaim: got nil; want an error")
	}
	first.StopAccepting()
	wantRefused(t, address)
	if err := first.AcceptAgain(); err != nil {
		t.Errorf("resume: %v", err)
	}
	third, _ := handOver(t, first, Config{Shards: 2}) // and it can be handed over again
	roundTrip(t, dialed(t, address), []byte("x"))
	if got := third.Snapshot().Labels[0].Accepted; got == 0 {
		t.Error("third: got no connection; want them all")
	}
}

func TestStopAcceptingClosesThePortThoughAnEarlierGenerationHasTheSocket(t *testing.T) {
	first, second, endSecond, address := twoGenerations(t)
	for range 3 {
		second.StopAccepting()
		wantRefused(t, address)
		if err := second.AcceptAgain(); err != nil {
			t.Fatalf("resume: %v", err)
		}
		roundTrip(t, dialed(t, address), []byte("x"))
	}
	endSecond()
	if err := first.Reclaim(); err != nil { // it is the same socket still
		t.Fatalf("reclaim: %v", err)
	}
	roundTrip(t, dialed(t, address), []byte("x"))
}

func TestListenersThatTheOtherHasClosedAreNotReclaimed(t *testing.T) {
	first, second, endSecond, address := twoGenerations(t)
	second.StopAccepting() // an operator has taken it out of service
	endSecond()
	if err := first.Reclaim(); err == nil || !strings.Contains(err.Error(), `"default": it does not listen`) {
		t.Errorf("reclaim: got %v; want an error that names the label", err)
	}
	wantRefused(t, address)
	if err := first.AcceptAgain(); !errors.Is(err, ErrReleased) {
		t.Errorf("resume: got %v; want ErrReleased", err)
	}
}

func TestReclaimUndoesTheStopInWhichTheOtherDied(t *testing.T) {
	first, second, endSecond, address := twoGenerations(t)
	if err := sock.RefuseNewHandshakes(second.listeners.sockets[0].fd); err != nil {
		t.Fatal(err)
	}
	endSecond()
	if err := first.Reclaim(); err != nil {
		t.Fatalf("reclaim: %v", err)
	}
	roundTrip(t, dialed(t, address), []byte("x"))
}

func TestReleasedListenersThatAreClosedAreNotReclaimed(t *testing.T) {
	first, _, endSecond, address := twoGenerations(t)
	first.CloseReleased()
	roundTrip(t, dialed(t, address), []byte("x")) // nothing was done to the socket
	endSecond()
	wantRefused(t, address)
	if err := first.Reclaim(); err == nil {
		t.Error("reclaim: got nil; want an error")
	}
}

func TestCloseReleasedLeavesListenersThatWereNotReleased(t *testing.T) {
	p, _ := on(t, Listener{Address: "127.0.0.1:0"}, Config{Shards: 1})
	p.CloseReleased()
	roundTrip(t, dialed(t, p.Snapshot().Labels[0].Listen), []byte("x"))
}

func TestReleaseDoesNotWaitForTheShards(t *testing.T) {
	p, _ := on(t, Listener{Address: "127.0.0.1:0"}, Config{Shards: 2})
	if err := p.Heartbeat(t.Context()); err != nil {
		t.Fatal(err)
	}
	stuck := make(chan struct{})
	p.shards[1].mail.urge(func() { <-stuck })
	left, err := p.Release() // would wait for ever
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-left:
		t.Error("got every shard to have left; want one to be stuck")
	case <-time.After(20 * time.Millisecond):
	}
	close(stuck)
	<-left
}

func TestPortOfAStoppedListenerIsTakenFromNobodyElse(t *testing.T) {
	p, _ := on(t, Listener{Address: "127.0.0.1:0"}, Config{Shards: 1})
	address := p.Snapshot().Labels[0].Listen
	p.StopAccepting()
	other, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatalf("listen on the port of a stopped listener: %v", err)
	}
	if err := p.AcceptAgain(); !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), address) {
		t.Errorf("resume: got %v; want that %s is in use", err, address)
	}
	other.Close()
	if err := p.AcceptAgain(); err != nil {
		t.Errorf("resume when it is free: %v", err)
	}
	c := dialed(t, address)
	time.Sleep(50 * time.Millisecond) // until the proxy looks for what is not there yet
	roundTrip(t, c, []byte("x"))
}

// TestOneListenerThatCannotOpenKeepsAllClosed: who could not undo a drain shows
// that nobody is accepted.
func TestOneListenerThatCannotOpenKeepsAllClosed(t *testing.T) {
	p := served(t, Config{Shards: 1, Listeners: []Listener{{Label: "a", Address: "127.0.0.1:0"}, {Label: "b", Address: "127.0.0.1:0"}}})
	a, b := p.Snapshot().Labels[0].Listen, p.Snapshot().Labels[1].Listen
	p.StopAccepting()
	other, err := net.Listen("tcp", b)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := p.AcceptAgain(); !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("resume: got %v; want that %s is in use", err, b)
	}
	wantRefused(t, a)
}

// TestListenerThatAServiceManagerKeepsIsNoReasonToReclaim: the other process has
// closed all that were its to close, and was not to be replaced.
func TestListenerThatAServiceManagerKeepsIsNoReasonToReclaim(t *testing.T) {
	p := served(t, Config{Shards: 1, Listeners: []Listener{{Label: "own", Address: "127.0.0.1:0"}, {Label: "kept", Address: "127.0.0.1:0"}}})
	p.listeners.sockets[1].Shared = true
	if _, err := p.Release(); err != nil {
		t.Fatal(err)
	}
	sock.StopListening(p.listeners.sockets[0].fd) // the other's drain
	if err := p.Reclaim(); err == nil || !strings.Contains(err.Error(), `"own": it does not listen`) {
		t.Errorf("reclaim: got %v; want an error that names the label", err)
	}
}

// TestReleasedListenersAreClosedWhenNoShardHasThem: by then their numbers may be others'.
func TestReleasedListenersAreClosedWhenNoShardHasThem(t *testing.T) {
	p := served(t, Config{Shards: 1, Listeners: []Listener{{Label: "default", Address: "127.0.0.1:0"}}})
	stuck := make(chan struct{})
	p.shards[0].mail.urge(func() { <-stuck })
	if _, err := p.Release(); err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		p.CloseReleased()
	}()
	select {
	case <-closed:
		t.Error("they are closed while a shard waits for their clients")
	case <-time.After(20 * time.Millisecond):
	}
	close(stuck)
	<-closed
}

// TestShutdownWaitsForClientsThatAreStillInTheQueue when nobody else is there.
func TestShutdownWaitsForClientsThatAreStillInTheQueue(t *testing.T) {
	p, address := running(t, Config{Shards: 1}, echo(t))
	stuck := make(chan struct{})
	p.shards[0].mail.urge(func() { <-stuck })
	client := dialed(t, address)
	over := make(chan error, 1)
	go func() { over <- p.Shutdown(t.Context()) }()
	eventually(t, "the drain to have begun", func() bool {
		free := p.listeners.mu.TryLock()
		if free {
			p.listeners.mu.Unlock()
		}
		return !free
	})
	close(stuck)
	roundTrip(t, client, []byte("x"))
	eventually(t, "the port to be closed", func() bool { return !p.listeners.open.Load() })
	select {
	case err := <-over:
		t.Fatalf("shutdown: got %v while a client is live; want it to wait", err)
	case <-time.After(20 * time.Millisecond):
	}
	client.Close()
	if err := <-over; err != nil {
		t.Errorf("shutdown: got %v; want nil", err)
	}
}
