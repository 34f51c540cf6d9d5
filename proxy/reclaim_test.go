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
