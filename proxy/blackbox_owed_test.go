package proxy_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/proxy"
)

// What one side is owed is paid as long as that side takes it, whatever
// becomes of the other; and what cannot be paid never looks whole.

// toEither runs f with the master as the source of a stream and the client as
// its reader, and the other way round.
func toEither(t *testing.T, set func(*proxy.Config), f func(t *testing.T, r *relay, source, reader *net.TCPConn, sourceIsClient bool)) {
	for _, sourceIsClient := range []bool{false, true} {
		t.Run(fmt.Sprintf("sourceIsClient=%v", sourceIsClient), func(t *testing.T) {
			noLeaks(t)
			c := config()
			if set != nil {
				set(&c)
			}
			r := newProxy(t, c)
			m := newMaster(t, nil)
			r.set(m.addr)
			reader, source := r.pair(m)
			if sourceIsClient {
				reader, source = source, reader
			}
			smallBuffer(t, reader)
			f(t, r, source, reader, sourceIsClient)
		})
	}
}

const smallWindow = 32 << 10

// smallBuffer has what c does not read wait elsewhere.
func smallBuffer(t testing.TB, c *net.TCPConn) {
	t.Helper()
	if err := c.SetReadBuffer(smallWindow); err != nil {
		t.Fatal(err)
	}
}

// inPieces reads a piece of a stream of size at a time, so that the whole takes so long.
func inPieces(size int, whole time.Duration) sizes {
	const pieces = 60
	tick := whole / pieces
	return func() int {
		time.Sleep(tick)
		return size/pieces + 1
	}
}

// unsent is how many bytes of what c has written its peer has not acknowledged.
func unsent(t testing.TB, c *net.TCPConn) (n int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err == nil {
		err = errors.Join(raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }), err)
	}
	if err != nil {
		t.Fatalf("ask for the send queue: %v", err)
	}
	return n
}

// waitSent waits until everything that c has written is at the proxy's socket.
func waitSent(t testing.TB, c *net.TCPConn) {
	t.Helper()
	waitEqual(t, "bytes that the proxy's socket has not taken", 0, func() int { return unsent(t, c) })
}

// A stream whose tail waits in a socket, and one whose tail waits in the proxy as well.
var streamSizes = []int{400_000, 12 << 20}

func TestTimeoutsSpareAStreamThatASlowReaderTakes(t *testing.T) {
	noLeaks(t)
	type test struct {
		name           string
		set            func(*proxy.Config)
		fin            bool // the source ends, which the reader learns only behind the last byte
		size           int
		sourceIsClient bool
	}
	var tests []test
	for _, size := range streamSizes {
		for _, sourceIsClient := range []bool{false, true} {
			idle := func(c *proxy.Config) { c.IdleTimeout = shortTimeout }
			halfClose := func(c *proxy.Config) { c.HalfCloseTimeout = shortTimeout }
			tests = append(tests,
				test{"idle", idle, false, size, sourceIsClient},
				test{"half-closed", halfClose, true, size, sourceIsClient},
				test{"half-closed, idle", idle, true, size, sourceIsClient})
		}
	}
	sideBySide(t, tests, func(c test) string { return fmt.Sprint(c.name, " ", c.size, " sourceIsClient=", c.sourceIsClient) }, func(t *testing.T, c test) {
		cfg := config()
		c.set(&cfg)
		r := newProxy(t, cfg)
		m := newMaster(t, nil)
		r.set(m.addr)
		reader, source := r.pair(m)
		if c.sourceIsClient {
			reader, source = source, reader
		}
		smallBuffer(t, reader)
		var g errgroup.Group
		g.Go(func() error {
			if err := send(source, &pattern{}, c.size, atOnce(1<<17)); err != nil || !c.fin {
				return err
			}
			return source.CloseWrite()
		})
		g.Go(func() error { return receive(reader, &pattern{}, c.size, inPieces(c.size, 4*shortTimeout)) })
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		if c.fin {
			wantEnd(t, "reader", reader, byFIN)
		}
	})
}

// TestTimeoutNeverLooksLikeTheEndOfAStream: nobody takes what waits, and the
// timeout is over. FIN behind it would say that it was all.
func TestTimeoutNeverLooksLikeTheEndOfAStream(t *testing.T) {
	for _, size := range streamSizes {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			toEither(t, func(c *proxy.Config) { c.IdleTimeout = shortTimeout }, func(t *testing.T, r *relay, source, reader *net.TCPConn, _ bool) {
				sent := make(chan error, 1)
				go func() { sent <- send(source, &pattern{}, size, atOnce(1<<17)) }()
				r.wantClosed(map[proxy.Reason]uint64{proxy.Idle: 1})
				data, how := ending(reader)
				if how != byRST {
					t.Errorf("end of the reader's stream after %d bytes of %d: got %s; want %s", len(data), size, how, byRST)
				}
				if err := (&pattern{}).verify(data); err != nil {
					t.Error(err)
				}
				if <-sent == nil { // else the write has had the reset
					wantEnd(t, "source", source, byRST)
				}
			})
		})
	}
}

// TestStreamThatEndedInOrderIsDeliveredThoughItsSourceResets has the reader
// begin only when the source is gone.
func TestStreamThatEndedInOrderIsDeliveredThoughItsSourceResets(t *testing.T) {
	for _, size := range streamSizes {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			toEither(t, nil, func(t *testing.T, r *relay, source, reader *net.TCPConn, sourceIsClient bool) {
				sent, in := &pattern{}, &pattern{}
				fill(t, source, reader, sent, in, size)
				if err := source.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				waitSent(t, source)
				reset(t, source)
				time.Sleep(100 * time.Millisecond) // for the proxy to learn of it
				if err := receiveAll(reader, in, sent.at-in.at, atOnce(1<<16)); err != nil {
					t.Fatal(err)
				}
				reader.Close()
				r.wantClosed(pick(sourceIsClient, proxy.ClientClosed, proxy.MasterClosed))
			})
		})
	}
}

// TestWhatCameBeforeAResetIsDeliveredAndThenTheReset: it did not end in order,
// and the reader is told so, but not before it has had what there was.
func TestWhatCameBeforeAResetIsDeliveredAndThenTheReset(t *testing.T) {
	for _, size := range streamSizes {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			toEither(t, nil, func(t *testing.T, r *relay, source, reader *net.TCPConn, sourceIsClient bool) {
				sent, in := &pattern{}, &pattern{}
				fill(t, source, reader, sent, in, size)
				waitSent(t, source)
				reset(t, source)
				time.Sleep(100 * time.Millisecond) // for the proxy to learn of it
				if err := receive(reader, in, sent.at-in.at, atOnce(1<<16)); err != nil {
					t.Fatal(err)
				}
				wantEnd(t, "reader", reader, byRST)
				r.wantClosed(pick(sourceIsClient, proxy.ClientReset, proxy.MasterReset))
			})
		})
	}
}

// fill sends size bytes, or as many as go while the reader does not read. In
// the end all that was written is out of the source's hands.
func fill(t *testing.T, source, reader *net.TCPConn, out, in *pattern, size int) {
	t.Helper()
	for out.at < size {
		if err := send(source, out, min(64<<10, size-out.at), atOnce(64<<10)); err != nil {
			t.Fatal(err)
		}
		for begin := time.Now(); unsent(t, source) > 0; time.Sleep(time.Millisecond) {
			if time.Since(begin) > 300*time.Millisecond { // full: make room for the rest
				for unsent(t, source) > 0 {
					if err := receive(reader, in, 16<<10, atOnce(16<<10)); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Millisecond)
				}
				// And for a FIN, for which a full window has no place.
				if err := receive(reader, in, min(1<<20, out.at-in.at), atOnce(1<<20)); err != nil {
					t.Fatal(err)
				}
				return
			}
		}
	}
}

// TestReaderThatNeverTakesWhatAResetSourceHasLeftIsEnded: the reset is half a
// close, so that this does not last for ever.
func TestReaderThatNeverTakesWhatAResetSourceHasLeftIsEnded(t *testing.T) {
	set := func(c *proxy.Config) { c.HalfCloseTimeout = shortTimeout }
	toEither(t, set, func(t *testing.T, r *relay, source, reader *net.TCPConn, sourceIsClient bool) {
		if err := send(source, &pattern{}, 400_000, atOnce(1<<16)); err != nil {
			t.Fatal(err)
		}
		waitSent(t, source)
		reset(t, source)
		r.wantClosed(pick(sourceIsClient, proxy.ClientReset, proxy.MasterReset))
		if _, how := ending(reader); how != byRST {
			t.Errorf("end of the reader's connection: got %s; want %s", how, byRST)
		}
	})
}

// TestResetWhileTheOtherSideWritesIsNoEnd: a write takes the error off the
// socket, and the next read of it says 0, as at the end of a stream.
func TestResetWhileTheOtherSideWritesIsNoEnd(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	m := newMaster(t, nil)
	r.set(m.addr)
	for i := range 30 {
		source, reader := r.pair(m)
		if i%2 == 1 {
			source, reader = reader, source
		}
		smallBuffer(t, reader)
		relays(t, source, reader)
		const size = 400_000 // more than the reader has room for: it learns of the end only when it reads
		if err := send(source, &pattern{}, size, atOnce(size)); err != nil {
			t.Fatal(err)
		}
		waitSent(t, source)
		stop := make(chan struct{})
		var wrote sync.WaitGroup
		wrote.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					write(t, reader, "more")
				}
			}
		})
		reset(t, source)
		time.Sleep(10 * time.Millisecond) // for a write to meet the reset
		close(stop)
		wrote.Wait()
		if err := receive(reader, &pattern{}, size, atOnce(1<<16)); err != nil {
			t.Fatal(err)
		}
		wantEnd(t, "reader", reader, byRST)
	}
}

// TestEndThatComesWithAResetIsAnEnd: FIN and RST are seen at once, while the
// other side still writes. Unread, that would turn the close of its socket into
// a reset of its own, in place of the FIN.
func TestEndThatComesWithAResetIsAnEnd(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	m := newMaster(t, nil)
	r.set(m.addr)
	for i := range 200 {
		source, reader := r.pair(m)
		if i%2 == 1 {
			source, reader = reader, source
		}
		relays(t, source, reader)
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			for b := make([]byte, 100); ; {
				if _, err := reader.Write(b); err != nil {
					return
				}
			}
		}()
		write(t, source, "answer")
		waitSent(t, source)
		err := source.CloseWrite() // has sent the FIN when it returns
		reset(t, source)
		if data, how := ending(reader); err != nil || string(data) != "answer" || how != byFIN {
			t.Fatalf("try %d: got %q, then %s; want %q, then %s", i, data, how, "answer", byFIN)
		}
		reader.Close()
		<-stopped
	}
}

// TestUrgentMarkBeforeTheEndOfAStreamIsNotItsEnd: splice(2) returns 0 at the
// mark, as it does at the end, when FIN is behind it already. All of it is to
// come while the proxy is at the bytes before, so it has not been told of the mark.
func TestUrgentMarkBeforeTheEndOfAStreamIsNotItsEnd(t *testing.T) {
	noLeaks(t)
	const before, after, tries = 300_000, 50_000, 60
	text := plainText(before + after)
	r := newProxy(t, config())
	m := newMaster(t, nil)
	r.set(m.addr)
	for i := range tries {
		source, reader := r.pair(m)
		if i%2 == 1 {
			source, reader = reader, source
		}
		if err := source.SetWriteBuffer(1 << 20); err != nil {
			t.Fatal(err)
		}
		got := make(chan error, 1)
		go func() { got <- wantOrdinary(reader, text) }()
		_, err := source.Write(text[:before])
		err = errors.Join(err, sendUrgent(source))
		_, more := source.Write(text[before:])
		if err := errors.Join(err, more, source.CloseWrite(), <-got); err != nil {
			t.Fatalf("try %d: %v", i, err)
		}
		source.Close()
		reader.Close()
	}
}

// TestReaderThatPausesForManyUserTimeoutsIsAlive closes its window, and its
// kernel answers every probe of it.
func TestReaderThatPausesForManyUserTimeoutsIsAlive(t *testing.T) {
	noLeaks(t)
	c := config()
	c.UserTimeout, c.KeepAlive = 500*time.Millisecond, time.Second
	r := newProxy(t, c)
	m := newMaster(t, nil)
	r.set(m.addr)
	const size, pause = 12 << 20, 20
	var g errgroup.Group
	for _, sourceIsClient := range []bool{false, true} {
		reader, source := r.pair(m)
		if sourceIsClient {
			reader, source = source, reader
		}
		smallBuffer(t, reader)
		g.Go(func() error {
			if err := send(source, &pattern{}, size, atOnce(1<<17)); err != nil {
				return err
			}
			return source.CloseWrite()
		})
		g.Go(func() error {
			time.Sleep(pause * c.UserTimeout) // what is measured is a pause
			return receiveAll(reader, &pattern{}, size, atOnce(1<<16))
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

// TestConnectionIsThereUntilBothSidesHaveEverything: both have ended in order,
// but bytes still wait for a master that does not read. They belong to its
// epoch, and a failover takes them back.
func TestConnectionIsThereUntilBothSidesHaveEverything(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	old, young := newMaster(t, nil), newMaster(t, nil)
	r.set(old.addr)
	client, server := r.pair(old)
	smallBuffer(t, server)
	const size = 2 << 20
	if err := send(client, &pattern{}, size, atOnce(1<<16)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(client.CloseWrite(), server.CloseWrite()); err != nil {
		t.Fatal(err)
	}
	waitEqual(t, "bytes that the proxy has read", size, func() uint64 { return r.state().BytesUp })
	wantEnd(t, "client", client, byFIN)
	time.Sleep(300 * time.Millisecond) // what is to be seen is that nothing happens
	if n := r.state().Active; n != 1 {
		t.Fatalf("active connections: got %d; want 1, whose bytes still wait", n)
	}
	if cut := r.set(young.addr); cut.Dropped != 1 {
		t.Errorf("dropped: got %d; want 1", cut.Dropped)
	}
	wantNoSockets(t, old.addr)
	if data, how := ending(server); how != byRST || len(data) == size {
		t.Errorf("old master: got %d bytes of %d, then %s; want fewer, then %s", len(data), size, how, byRST)
	}
}

// TestBothSidesMayEndBeforeASlowReaderHasEverything has nobody left but the reader.
func TestBothSidesMayEndBeforeASlowReaderHasEverything(t *testing.T) {
	toEither(t, nil, func(t *testing.T, r *relay, source, reader *net.TCPConn, _ bool) {
		const size = 2 << 20
		if err := send(source, &pattern{}, size, atOnce(1<<16)); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(source.CloseWrite(), reader.CloseWrite()); err != nil {
			t.Fatal(err)
		}
		wantEnd(t, "source", source, byFIN)
		if err := source.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond) // for the proxy to do what it would do wrong
		if n := r.state().Active; n != 1 {
			t.Errorf("active connections: got %d; want 1, whose bytes still wait", n)
		}
		if err := receiveAll(reader, &pattern{}, size, inPieces(size, time.Second)); err != nil {
			t.Fatal(err)
		}
		r.waitActive(0)
	})
}

// TestCutByFINNeverLooksLikeTheEndOfAStream: a client is missing bytes that had
// been read for it, or that wait for it in the socket to the master.
func TestCutByFINNeverLooksLikeTheEndOfAStream(t *testing.T) {
	noLeaks(t)
	c := config()
	c.DropFIN = true
	r := newProxy(t, c)
	old, young := newMaster(t, nil), newMaster(t, nil)
	r.set(old.addr)
	client, server := r.pair(old)
	smallBuffer(t, client)
	if _, err := sendUntilBlocked(server, &pattern{}, atOnce(1<<17)); err != nil {
		t.Fatal(err)
	}
	r.set(young.addr)
	data, how := ending(client)
	if how != byRST {
		t.Errorf("end of the client's stream after %d bytes: got %s; want %s", len(data), how, byRST)
	}
	if err := (&pattern{}).verify(data); err != nil {
		t.Error(err)
	}
	if _, err := io.Copy(io.Discard, server); err == nil {
		t.Error("old master: got end of file; want a reset")
	}
}
