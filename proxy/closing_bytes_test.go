package proxy

import (
	"context"
	"errors"
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// What becomes of bytes when connections are closed gracefully.

// TestWhatIsSentAfterTheFINReachesNobody: and the sender learns of it, by a
// reset at the latest at the deadline.
func TestWhatIsSentAfterTheFINReachesNobody(t *testing.T) {
	s := newPairs(t, Config{})
	client, master := s.next(t)
	g := beginDrain(t, s.p, 0, time.Second)
	wantEOF(t, "client", client)
	wrote := make(chan error, 1)
	go func() {
		b := make([]byte, 1<<20)
		for {
			if _, err := client.Write(b); err != nil { // blocks: nobody reads
				wrote <- err
				return
			}
		}
	}()
	wantEOF(t, "master", master)
	g.wantReturn(t, context.DeadlineExceeded)
	if err := <-wrote; !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("write after FIN: got %v; want a reset", err)
	}
	wantEnded(t, s.p, 1, 0)
	if l := s.p.Snapshot().Labels[0]; l.BytesUp != uint64(len("hello")) {
		t.Errorf("bytes up: got %d; want %d, those of before the FIN", l.BytesUp, len("hello"))
	}
}

// TestNoFINBehindBytesThatAreOnTheirWay: a stream that was cut short must not look whole.
func TestNoFINBehindBytesThatAreOnTheirWay(t *testing.T) {
	s := newPairs(t, Config{})
	client, master := s.next(t)
	go func() { _, _ = master.Write(make([]byte, 64<<20)) }() // more than the buffers on the way hold
	eventually(t, "the buffers to be full", func() bool { return isStuck(s.p) })
	g := beginDrain(t, s.p, 0, 800*time.Millisecond)
	g.wantReturn(t, context.DeadlineExceeded)
	wantEnded(t, s.p, 1, 0)
	if _, err := io.Copy(io.Discard, client); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("end of the client's connection: got %v; want a reset", err)
	}
}

// TestNoFINBehindBytesThatThePeerDoesNotTake: all of it is in the kernel, but
// what the client does not take will never have been delivered.
func TestNoFINBehindBytesThatThePeerDoesNotTake(t *testing.T) {
	s := newPairs(t, Config{})
	client, master := s.next(t)
	if err := client.SetReadBuffer(32 << 10); err != nil {
		t.Fatal(err)
	}
	const size = 400_000
	if _, err := master.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the bytes to be with the kernel", func() bool {
		return s.p.Snapshot().Labels[0].BytesDown >= size && !isStuck(s.p)
	})
	g := beginDrain(t, s.p, 0, 800*time.Millisecond)
	g.wantReturn(t, context.DeadlineExceeded)
	wantEnded(t, s.p, 1, 0)
	if _, err := io.Copy(io.Discard, master); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("end of the master's connection: got %v; want a reset", err)
	}
}

// TestCutByFINIsAResetWhileBytesWaitInTheMastersSocket: they have arrived when
// the failover comes, but have not been read for the client.
func TestCutByFINIsAResetWhileBytesWaitInTheMastersSocket(t *testing.T) {
	s := newPairs(t, Config{Shards: 1, DropFIN: true})
	client, master := s.next(t)
	done := make(chan struct{})
	onShard(s.p, 0, func(sh *shard) {
		if _, err := master.Write([]byte("the rest")); err != nil {
			t.Error(err)
		}
		eventually(t, "the bytes to have arrived", func() bool {
			n := 0
			sh.conns.all(func(c *conn) { n = sock.Unread(int(c.sides[1].fd)) })
			return n == len("the rest")
		})
		go func() {
			defer close(done)
			s.p.SetMaster("default", Master{})
		}()
		eventually(t, "the failover to wait for the shard", sh.mail.urgent.Load)
	})
	<-done
	if data, err := io.ReadAll(client); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("end of the client's connection: got %q, %v; want a reset", data, err)
	}
}

// isStuck reports whether the one connection of p has bytes that its client does not take.
func isStuck(p *Proxy) bool {
	stuck := false
	for i := range p.shards {
		onShard(p, i, func(s *shard) {
			s.conns.all(func(c *conn) { stuck = stuck || c.flows[down].holds() })
		})
	}
	return stuck
}

func TestSlowReaderThatGoesOnInTimeGetsEverythingAndFIN(t *testing.T) {
	const size = 64 << 20
	s := newPairs(t, Config{})
	client, master := s.next(t)
	go func() { _, _ = master.Write(make([]byte, size)) }()
	eventually(t, "the buffers to be full", func() bool { return isStuck(s.p) })
	g := beginDrain(t, s.p, 0, testTimeout)
	if n, err := io.Copy(io.Discard, client); n != size || err != nil {
		t.Errorf("got %d bytes, %v; want %d, then FIN", n, err, size)
	}
	client.Close()
	master.Close()
	g.wantReturn(t, nil)
	wantEnded(t, s.p, 1, 1)
}

func TestStreamThatNeverRestsIsResetAtTheDeadline(t *testing.T) {
	s := newPairs(t, Config{})
	client, master := s.next(t)
	go func() {
		for b := make([]byte, 1<<20); ; {
			if _, err := master.Write(b); err != nil {
				return
			}
		}
	}()
	ended := make(chan error, 1)
	go func() {
		_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{client}, make([]byte, 1<<20))
		ended <- err
	}()
	eventually(t, "the stream", func() bool { return s.p.Snapshot().Labels[0].BytesDown > 32<<20 })
	g := beginDrain(t, s.p, 0, 800*time.Millisecond)
	g.wantReturn(t, context.DeadlineExceeded)
	if err := <-ended; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("end of the client's connection: got %v; want a reset", err)
	}
	wantEnded(t, s.p, 1, 0)
}

// TestConnectionThatAlwaysTalksIsClosedToo: in the moment in which its message
// is at a peer, which takes less than any silence to think about it. Without
// that its message would be with the shard all the time that this waits for a CPU.
func TestConnectionThatAlwaysTalksIsClosedToo(t *testing.T) {
	p, address := running(t, Config{}, echo(t))
	c := dialed(t, address)
	ended := make(chan error, 1)
	go func() {
		b := []byte("x")
		for {
			time.Sleep(silence / 10)
			if _, err := c.Write(b); err != nil {
				ended <- err
				return
			}
			if _, err := io.ReadFull(c, b); err != nil {
				c.Close()
				ended <- err
				return
			}
		}
	}()
	eventually(t, "talk", func() bool { return p.Snapshot().Labels[0].BytesUp > 100 })
	g := beginDrain(t, p, 0, testTimeout)
	if err := <-ended; err != io.EOF {
		t.Errorf("end of the client's connection: got %v; want FIN", err)
	}
	g.wantReturn(t, nil)
	wantEnded(t, p, 1, 1)
}

// tryToCloseAll tries every silence, down to none, and answers how many were closed so far.
func (s *shard) tryToCloseAll(until int64) int {
	for range 64 {
		for closeSome := s.closeGracefully(1, until); closeSome(); {
		}
	}
	return s.closed
}

// TestLeftoverIsBytesOnTheirWay has them in the proxy alone: the socket that
// they came from is empty.
func TestLeftoverIsBytesOnTheirWay(t *testing.T) {
	s := newPairs(t, Config{Shards: 1})
	client, master := s.next(t)
	const chunk = largeRead / 2 // not a stream: no pipe
	before, sent := s.p.Snapshot().Labels[0].BytesDown, uint64(0)
	eventually(t, "a leftover", func() bool {
		if before+sent == s.p.Snapshot().Labels[0].BytesDown && !isStuck(s.p) {
			if _, err := master.Write(make([]byte, chunk)); err != nil {
				t.Fatalf("write: %v", err)
			}
			sent += chunk
		}
		return isStuck(s.p)
	})
	until := s.p.clock.now() + int64(testTimeout)
	tryToClose := func() (closed int) {
		onShard(s.p, 0, func(s *shard) { closed = s.tryToCloseAll(until) })
		return closed
	}
	if tryToClose() != 0 {
		t.Error("closed with a leftover; want it to wait for the client to take it")
	}
	if n, err := io.CopyN(io.Discard, client, int64(sent)); err != nil {
		t.Errorf("got %d bytes, %v; want %d", n, err, sent)
	}
	eventually(t, "its graceful close", func() bool { return tryToClose() == 1 })
	if n, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("then got %d bytes, %v; want FIN", n, err)
	}
}

// TestUnreadBytesAreOnTheirWay has them in the socket alone, at a moment in
// which the shard has not heard of them.
func TestUnreadBytesAreOnTheirWay(t *testing.T) {
	s := newPairs(t, Config{Shards: 1})
	client, master := s.next(t)
	closed := 0
	onShard(s.p, 0, func(s *shard) {
		if _, err := master.Write([]byte("x")); err != nil {
			t.Errorf("write: %v", err)
		}
		s.conns.all(func(c *conn) {
			for end := time.Now().Add(testTimeout); sock.NothingToRead(int(c.sides[1].fd)) && time.Now().Before(end); {
				time.Sleep(time.Millisecond)
			}
		})
		closed = s.tryToCloseAll(s.now + int64(testTimeout))
	})
	if closed != 0 {
		t.Error("closed with bytes unread; want it to pass them on first")
	}
	if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
		t.Errorf("read: got %v; want the byte", err)
	}
}
