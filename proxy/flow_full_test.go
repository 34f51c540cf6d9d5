package proxy

import (
	"bytes"
	"context"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// adoptTCP is adopt of a relaying connection, over TCP.
func (s *shard) adoptTCP(t *testing.T) (c *conn, peers [2]int) {
	t.Helper()
	c, _ = s.adopt(t, relaying)
	for which := range c.sides {
		sock.Close(int(c.sides[which].fd))
		c.sides[which].fd = sock.NoFD
		ours, theirs := tcpPair(t)
		c.sides[which].fd, peers[which] = int32(ours), theirs
	}
	return c, peers
}

// tcpPair is a connection over loopback. The second end is closed with the test.
func tcpPair(t *testing.T) (first, second int) {
	t.Helper()
	ln, bound, err := sock.Listen(context.Background(), "127.0.0.1:0", sock.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close(ln)
	if second, err = sock.Connect(bound, sock.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sock.Close(second) })
	eventually(t, "a connection", func() bool {
		first, _, err = sock.Accept(ln)
		return err == nil
	})
	return first, second
}

// TestWhereThereIsLittleRoomADestinationThatIsFullPinsNothing: what it does not
// take stays with the kernel, and comes whole when it does.
func TestWhereThereIsLittleRoomADestinationThatIsFullPinsNothing(t *testing.T) {
	for _, test := range []struct {
		name      string
		streaming bool
		most      int // bytes held at a time
	}{
		{"copied", false, 0},
		{"spliced", true, pipeSize / 8}, // how much a queue takes is known about
	} {
		t.Run(test.name, func(t *testing.T) {
			_, s := stopped(t, Config{}, nopLog)
			for s.leftovers.hasRoom() {
				defer s.leftovers.give(s.leftovers.keep([]byte("of another")))
			}
			s.pipes.plenty = 0
			c, peers := s.adoptTCP(t)
			f := &c.flows[down]
			f.streaming = test.streaming
			out, in := rand.NewChaCha8([32]byte{}), rand.NewChaCha8([32]byte{})
			var unsent []byte
			sent, stuck := 0, 0
			step := func() {
				if len(unsent) == 0 {
					unsent = make([]byte, scratchSize)
					_, _ = out.Read(unsent)
				}
				n, err := sock.Send(peers[master], unsent)
				if err != nil && err != sock.ErrAgain {
					t.Fatal(err)
				}
				sent += n
				unsent = unsent[n:]
				f.streaming = test.streaming
				c.onEvent(s.loop, master, sock.ReadyIn)
				s.runAllReady()
				if f.held() > test.most {
					t.Fatalf("%d bytes are held; want %d at most", f.held(), test.most)
				}
			}
			// A send that finds no room has all queues full, unless bytes are under way just then.
			for before := -1; stuck < 50; before = sent {
				if step(); sent == before {
					stuck++
				} else {
					stuck = 0
				}
			}
			if c.sides[client].writable {
				t.Error("the destination is taken to be writable")
			}
			got, want := make([]byte, 100_000), make([]byte, 100_000)
			for received, last := 0, sent; received < last; {
				n, err := sock.Receive(peers[client], got)
				if err != nil && err != sock.ErrAgain {
					t.Fatal(err)
				}
				_, _ = in.Read(want[:n])
				if !bytes.Equal(got[:n], want[:n]) {
					t.Fatalf("of %d bytes behind the first %d some are others", n, received)
				}
				received += n
				if isWritable(t, int(c.sides[client].fd)) {
					c.onEvent(s.loop, client, sock.ReadyOut)
					s.runAllReady()
				}
				step()
			}
		})
	}
}

// isWritable reports whether epoll would say so.
func isWritable(t *testing.T, fd int) bool {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(fds, 0)
	if err != nil && err != unix.EINTR {
		t.Fatal(err)
	}
	return n > 0
}
