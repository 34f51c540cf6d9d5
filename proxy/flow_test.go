package proxy

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// enlarge gives the queue that fd's writes go to room for n bytes.
func enlarge(t *testing.T, fd, n int) {
	t.Helper()
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, n); err != nil {
		t.Skipf("only root may have such long queues: %v", err)
	}
}

// TestADirectionMovesAQuantumAtMost, copied or spliced, when source and
// destination would go on: others wait.
func TestADirectionMovesAQuantumAtMost(t *testing.T) {
	for name, streaming := range map[string]bool{"copied": false, "spliced": true} {
		t.Run(name, func(t *testing.T) {
			_, s := stopped(t, Config{}, nopLog)
			c, peers := s.adopt(t, relaying)
			c.flows[up].streaming, c.sides[client].urgent = streaming, !streaming // at an urgent mark nothing is spliced
			c.sides[client].readable = true
			for _, fd := range []int{peers[client], int(c.sides[master].fd)} {
				enlarge(t, fd, 16<<20)
			}
			const all = 3 * quantum
			for sent := 0; sent < all; {
				n, err := sock.Send(peers[client], make([]byte, min(scratchSize, all-sent)))
				if err != nil {
					t.Fatal(err)
				}
				sent += n
			}
			for before := uint64(0); before < all; before = c.flows[up].bytes {
				c.move(s.loop, up, quantum)
				if n := c.flows[up].bytes - before; n == 0 || n >= 2*quantum {
					t.Fatalf("moved: got %d bytes; want some, and not more than %d and what was read last", n, quantum)
				}
				if ready := c.queued; !ready && c.flows[up].bytes < all {
					t.Fatal("with more to move it is not ready to go on")
				}
				c.queued = false
			}
		})
	}
}

// TestADestinationThatIsFullIsNotTriedAgain: an event says when it is not any more.
func TestADestinationThatIsFullIsNotTriedAgain(t *testing.T) {
	for name, streaming := range map[string]bool{"copied": false, "spliced": true} {
		t.Run(name, func(t *testing.T) {
			_, s := stopped(t, Config{}, nopLog)
			c, peers := s.adopt(t, relaying)
			isStuck := func() bool { return c.flows[up].holds() }
			for !isStuck() {
				c.flows[up].large = 0 // else nothing would be read that is not taken
				if _, err := sock.Send(peers[client], make([]byte, scratchSize)); err != nil {
					t.Fatal(err)
				}
				c.flows[up].streaming, c.sides[client].readable = streaming, true
				c.move(s.loop, up, quantum)
			}
			if c.sides[master].writable {
				t.Error("it is taken to be writable")
			}
			for want := c.flows[up].bytes; want > 0; { // and then everything comes
				n, err := sock.Receive(peers[master], s.scratch[:1<<10]) // little by little
				if err != nil {
					t.Fatalf("with %d bytes to go: %v", want, err)
				}
				want -= uint64(n)
				c.onEvent(s.loop, master, sock.ReadyOut)
				s.runAllReady()
				if isStuck() && c.sides[master].writable {
					t.Fatalf("with %d bytes to go it is taken to be writable", want)
				}
			}
			if isStuck() {
				t.Error("something is left")
			}
		})
	}
}

// TestAShortReadIsTheLast, of what epoll has told of; but not where more may be
// behind it of which epoll tells nothing.
func TestAShortReadIsTheLast(t *testing.T) {
	for _, c := range []struct {
		name string
		of   side
		more bool
	}{
		{"a message", side{}, false},
		{"a message before FIN", side{fin: true}, true},
		{"a message before a reset", side{broken: true}, true},
		{"bytes up to the mark of urgent ones", side{urgent: true}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, s := stopped(t, Config{}, nopLog)
			reads, peers := s.adopt(t, relaying)
			src := &reads.sides[client]
			src.readable, src.fin, src.broken, src.urgent = true, c.of.fin, c.of.broken, c.of.urgent
			if _, err := sock.Send(peers[client], []byte("message")); err != nil {
				t.Fatal(err)
			}
			reads.copyThrough(s.loop, up)
			if src.readable != c.more {
				t.Errorf("there may be more to read: got %v; want %v", src.readable, c.more)
			}
		})
	}
}

func TestStreamsBeginWithLargeReadsInARowAndEndWithSmallOnes(t *testing.T) {
	_, s := stopped(t, Config{}, nopLog)
	c, peers := s.adopt(t, relaying)
	for _, fd := range []int{peers[client], int(c.sides[master].fd)} {
		enlarge(t, fd, 16<<20)
	}
	const small, large = smallSplice / 2, largeRead
	for i, step := range []struct {
		bytes  int
		stream bool // afterwards
	}{
		{large, false}, {large, false}, {small, false}, // not in a row
		{large, false}, {large, false}, {large, true},
		{small, true}, {large, true}, {small, true}, {small, false}, // two small ones in a row
		{large, false}, {large, false}, {large, true},
	} {
		if _, err := sock.Send(peers[client], make([]byte, step.bytes)); err != nil {
			t.Fatal(err)
		}
		c.onEvent(s.loop, client, sock.ReadyIn)
		s.runAllReady()
		if got := c.flows[up].streaming; got != step.stream {
			t.Fatalf("after read %d, of %d bytes: streaming is %v; want %v", i, step.bytes, got, step.stream)
		}
	}
}
