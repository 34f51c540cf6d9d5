package proxy

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// Who has little to move goes before who has much.

func TestAMessageGoesOnAtOnceAndAStreamInItsTurn(t *testing.T) {
	_, s := stopped(t, Config{}, nopLog)
	const streams = 3
	var all [streams + 1]*conn
	for i := range all {
		c, peers := s.adopt(t, relaying)
		c.flows[up].streaming = i < streams
		if _, err := sock.Send(peers[client], []byte("bytes")); err != nil {
			t.Fatal(err)
		}
		all[i] = c
	}
	for _, c := range all { // the message last
		c.onEvent(s.loop, client, sock.ReadyIn)
	}
	for i, c := range all {
		if moved := c.flows[up].bytes > 0; moved == c.flows[up].streaming {
			t.Errorf("connection %d, which streams: %v: got bytes moved at the event: %v", i, c.flows[up].streaming, moved)
		}
	}
	s.runAllReady()
	for i, c := range all {
		if c.flows[up].bytes != uint64(len("bytes")) {
			t.Errorf("connection %d: got %d bytes moved in the end; want all", i, c.flows[up].bytes)
		}
	}
}

// TestALongMessageWaitsForItsTurnBehindItsFirstBytes: at an event no more moves than one read takes.
func TestALongMessageWaitsForItsTurnBehindItsFirstBytes(t *testing.T) {
	_, s := stopped(t, Config{}, nopLog)
	c, peers := s.adopt(t, relaying)
	for _, fd := range []int{peers[client], int(c.sides[master].fd)} {
		enlarge(t, fd, 16<<20)
	}
	const size = 4 * scratchSize
	for range 4 {
		if n, err := sock.Send(peers[client], make([]byte, scratchSize)); err != nil || n != scratchSize {
			t.Fatalf("sent %d, %v", n, err)
		}
	}
	for range 2 { // of the second it is known already
		c.onEvent(s.loop, client, sock.ReadyIn)
		if got := c.flows[up].bytes; got > scratchSize || !c.queued {
			t.Errorf("at the event got %d bytes moved, waits for its turn: %v; want %d at most, true", got, c.queued, scratchSize)
		}
	}
	s.runAllReady()
	if got := c.flows[up].bytes; got != size {
		t.Errorf("got %d bytes moved in the end; want %d", got, size)
	}
}

// TestTurnsEndWhenOthersHaveWaitedForTheirEvents: the rest go on afterwards, without an event.
func TestTurnsEndWhenOthersHaveWaitedForTheirEvents(t *testing.T) {
	closed := 0
	_, s := stopped(t, Config{LogConnections: true}, closedLines(func() {
		closed++
		time.Sleep(2 * readyPerIteration) // as a turn that takes long
	}))
	const n = 3
	for range n {
		c, peers := s.adopt(t, relaying)
		for which := range peers { // both have ended
			if err := unix.Shutdown(peers[which], unix.SHUT_RDWR); err != nil {
				t.Fatal(err)
			}
			c.sides[which].readable = true
		}
		c.enqueue(s.loop)
	}
	for i := range n {
		s.runReady()
		if closed != i+1 {
			t.Errorf("after iteration %d: got %d turns; want one each", i+1, closed)
		}
		if more := s.pollTimeout() == 0; more != (closed < n) {
			t.Errorf("after %d turns of %d: got more to do: %v", closed, n, more)
		}
	}
}

func TestReadyConnectionsHaveTheirTurnsInOrder(t *testing.T) {
	var q readyQueue
	next, want := uint32(0), uint32(0)
	for round := range 1000 {
		for range round%7 + 1 {
			q.add(ref{index: next})
			next++
		}
		for range min(round%9, q.len()) {
			if got := q.take(); got.index != want {
				t.Fatalf("got %d; want %d", got.index, want)
			}
			want++
		}
		if got := q.len(); got != int(next-want) {
			t.Fatalf("length: got %d; want %d", got, next-want)
		}
	}
	if c := cap(q.items); c > 4*max(q.len(), 16) {
		t.Errorf("room for %d that are taken is kept with %d in the queue", c, q.len())
	}
}
