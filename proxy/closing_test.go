package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// testTimeout is how long these tests leave a peer to answer: what ends earlier
// does so on its own.
const testTimeout = 20 * time.Second

// drainCall is a Shutdown with a closing window that begins at once.
type drainCall struct {
	p      *Proxy
	begun  time.Time
	cancel context.CancelFunc
	done   chan error
}

// beginDrain spreads the closing window over spread and leaves answer to the last.
func beginDrain(t *testing.T, p *Proxy, spread, answer time.Duration) *drainCall {
	ctx, cancel := context.WithTimeout(context.Background(), spread+answer)
	t.Cleanup(cancel)
	g := &drainCall{p: p, begun: time.Now(), cancel: cancel, done: make(chan error, 1)}
	now := p.clock.now()
	f := closingWindow{begins: now, spread: now + int64(spread), ends: now + int64(spread+answer)}
	go func() { g.done <- p.shutdown(ctx, f) }()
	return g
}

func (g *drainCall) wantReturn(t *testing.T, want error) {
	t.Helper()
	select {
	case err := <-g.done:
		if !errors.Is(err, want) {
			t.Errorf("shutdown: got %v; want %v", err, want)
		}
	case <-time.After(2 * testTimeout):
		t.Fatal("shutdown: no return")
	}
}

// wantEnded checks how many connections the deadline of a drain has ended, and
// how many of them in good order.
func wantEnded(t *testing.T, p *Proxy, ended, quiet uint64) {
	t.Helper()
	l := p.Snapshot().Labels[0]
	if l.Closed[DrainDeadline] != ended || l.ClosedQuiet != quiet {
		t.Errorf("ended by the deadline, of them in good order: got %d, %d; want %d, %d", l.Closed[DrainDeadline], l.ClosedQuiet, ended, quiet)
	}
}

// inState waits until n connections are in the state.
func inState(t *testing.T, p *Proxy, want state, n int) {
	t.Helper()
	eventually(t, "connections in the state "+want.String(), func() bool {
		found := 0
		for _, c := range p.Connections(Filter{}) {
			if c.State == want.String() {
				found++
			}
		}
		return found == n
	})
}

// pairs are both ends of connections through a proxy.
type pairs struct {
	p       *Proxy
	address string
	l       net.Listener
}

func newPairs(t *testing.T, c Config) *pairs {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p, address := running(t, c, l.Addr().String())
	return &pairs{p, address, l}
}

// closing makes a pair whose two ends have had FIN, and have the answer's time to end.
func (s *pairs) closing(t *testing.T, answer time.Duration) (client, master *net.TCPConn, g *drainCall) {
	t.Helper()
	client, master = s.next(t)
	g = beginDrain(t, s.p, 0, answer)
	wantEOF(t, "client", client)
	wantEOF(t, "master", master)
	return client, master, g
}

// next makes a pair that relays, and of which no answer is awaited.
func (s *pairs) next(t *testing.T) (client, master *net.TCPConn) {
	t.Helper()
	client = dialed(t, s.address).(*net.TCPConn)
	conn, err := s.l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(2 * testTimeout)); err != nil {
		t.Fatal(err)
	}
	// It relays by the time a byte has come through.
	master = conn.(*net.TCPConn)
	passes(t, client, master, "hello")
	passes(t, master, client, "hello, too")
	return client, master
}

func passes(t *testing.T, from, to net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(from, text); err != nil {
		t.Fatalf("write: %v", err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(to, got); err != nil || string(got) != text {
		t.Fatalf("read: got %q, %v; want %q", got, err, text)
	}
}

// wantEOF reads FIN, and nothing before it.
func wantEOF(t *testing.T, who string, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 16)); err != io.EOF {
		t.Errorf("end of the %s's connection: got %d bytes, %v; want FIN", who, n, err)
	}
}

func TestGracefulClosesAreSpreadEvenly(t *testing.T) {
	p, address := running(t, Config{Shards: 2}, echo(t))
	clients := make([]net.Conn, 40)
	for i := range clients {
		clients[i] = dialed(t, address)
		roundTrip(t, clients[i], []byte("x"))
	}
	const spread = 3 * time.Second
	g := beginDrain(t, p, spread, testTimeout)
	at := make([]time.Duration, len(clients))
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() {
			wantEOF(t, "client", c)
			at[i] = time.Since(g.begun)
			c.Close()
		})
	}
	wg.Wait()
	g.wantReturn(t, nil) // nobody was left for the deadline
	wantEnded(t, p, 40, 40)
	slices.Sort(at)
	if first, last := at[0], at[len(at)-1]; last-first < spread/2 {
		t.Errorf("first and last FIN: got %v and %v after the beginning; want them spread over %v", first, last, spread)
	}
	if half := at[len(at)/2]; half < spread/4 {
		t.Errorf("half of them had FIN %v after the beginning; want about half of %v", half, spread)
	}
}

func TestClosingConnectionEndsWhenBothPeersHave(t *testing.T) {
	s := newPairs(t, Config{})
	client, master, g := s.closing(t, testTimeout)
	client.Close()
	inState(t, s.p, closing, 1) // the master has not ended yet
	master.Close()
	g.wantReturn(t, nil)
	wantEnded(t, s.p, 1, 1)
}

func TestPeersThatDoNotEndAreResetAtTheDeadline(t *testing.T) {
	s := newPairs(t, Config{})
	client, master, g := s.closing(t, 500*time.Millisecond)
	g.wantReturn(t, context.DeadlineExceeded)
	wantEnded(t, s.p, 1, 0)
	for who, c := range map[string]net.Conn{"client": client, "master": master} {
		eventually(t, "the reset of the "+who, func() bool {
			_, err := c.Write([]byte("x"))
			return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
		})
	}
}

func TestResetFromAClosingPeerEndsTheOther(t *testing.T) {
	s := newPairs(t, Config{})
	client, _, g := s.closing(t, testTimeout)
	_ = client.SetLinger(0)
	client.Close()
	g.wantReturn(t, nil)
	wantEnded(t, s.p, 1, 1)
}

// TestHalfClosedConnectionIsLeftToTheDeadline, and then reset: to who waits for an
// answer FIN would look like the end of it.
func TestHalfClosedConnectionIsLeftToTheDeadline(t *testing.T) {
	for name, clientFirst := range map[string]bool{"client": true, "master": false} {
		t.Run(name+" ends", func(t *testing.T) {
			s := newPairs(t, Config{})
			asks, answers := s.next(t)
			if !clientFirst {
				asks, answers = answers, asks
			}
			if err := asks.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			wantEOF(t, "the other", answers)
			beginDrain(t, s.p, 0, 2*time.Second).wantReturn(t, context.DeadlineExceeded)
			if n, err := asks.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("who waits for an answer: got %d bytes, %v; want a reset", n, err)
			}
			wantEnded(t, s.p, 1, 0)
		})
	}
}

// TestRequestIsAnsweredBeforeItsConnectionIsClosed where the answer comes by the deadline.
func TestRequestIsAnsweredBeforeItsConnectionIsClosed(t *testing.T) {
	s := newPairs(t, Config{Shards: 1})
	client, master := s.next(t)
	passes(t, client, master, "request")
	closed := 0
	onShard(s.p, 0, func(s *shard) { closed = s.tryToCloseAll(s.now + int64(testTimeout)) })
	if closed != 0 {
		t.Error("closed with a request unanswered; want it to wait for the answer")
	}
	passes(t, master, client, "answer")
	beginDrain(t, s.p, 0, testTimeout)
	wantEOF(t, "client", client)
	wantEOF(t, "master", master)
}

// TestRequestWithoutAnswerIsResetAtTheDeadline: FIN would look like an empty answer.
func TestRequestWithoutAnswerIsResetAtTheDeadline(t *testing.T) {
	s := newPairs(t, Config{})
	client, master := s.next(t)
	passes(t, client, master, "request")
	beginDrain(t, s.p, 0, time.Second).wantReturn(t, context.DeadlineExceeded)
	if n, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("end of the client's connection: got %d bytes, %v; want a reset", n, err)
	}
	wantEnded(t, s.p, 1, 0)
}

// TestAnswerIsAwaitedForAWhile, and who only ever sends is closed in order then.
func TestAnswerIsAwaitedForAWhile(t *testing.T) {
	_, s := stopped(t, Config{}, nopLog)
	forDrain := func(c *conn) { c.closeForDrain(s.loop, s.now+int64(time.Second)) }
	forPause := func(c *conn) { c.closeForPause(s.loop, silence, s.now+int64(time.Second)) }
	for name, closeIt := range map[string]func(*conn){"drain": forDrain, "pause": forPause} {
		for _, tc := range []struct {
			sent   int // the side whose bytes were the last
			silent time.Duration
			want   state
		}{
			{client, answerSilence - 1, relaying},
			{client, answerSilence, closing},
			{master, silence - 1, relaying},
			{master, silence, closing},
		} {
			c, _ := s.adopt(t, relaying)
			s.now = s.clock.now()
			c.sentLast, c.lastActive = int8(tc.sent), s.now-int64(tc.silent)
			if closeIt(c); c.state != tc.want {
				t.Errorf("%s, side %d has sent last, silent for %v: got %v; want %v", name, tc.sent, tc.silent, c.state, tc.want)
			}
		}
	}
}

// TestShutdownWhoseDeadlineHasPassedEndsAllAtOnce, each time.
func TestShutdownWhoseDeadlineHasPassedEndsAllAtOnce(t *testing.T) {
	s := newPairs(t, Config{})
	for n := range uint64(20) {
		s.next(t)
		ctx, cancel := context.WithTimeout(t.Context(), 0)
		err := s.p.Shutdown(ctx)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || s.p.Active() != 0 {
			t.Fatalf("drain %d: got %v, %d connections; want %v, none", n, err, s.p.Active(), context.DeadlineExceeded)
		}
		if c, err := net.Dial("tcp", s.address); err == nil {
			c.Close()
			t.Fatalf("drain %d: the port is open", n)
		}
		wantEnded(t, s.p, n+1, 0)
		if err := s.p.AcceptAgain(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPauseResetsTheHalfClosed when they have been silent for as long as an answer may take.
func TestPauseResetsTheHalfClosed(t *testing.T) {
	_, s := stopped(t, Config{}, nopLog)
	for _, tc := range []struct {
		ended  int // the direction that has; noSide: neither
		silent time.Duration
		want   state // arrived is that of a slot that is free
	}{
		{noSide, silence, closing},
		{up, answerSilence - 1, relaying},
		{up, answerSilence, arrived},
		{down, silence, relaying},
		{down, answerSilence, arrived},
	} {
		c, _ := s.adopt(t, relaying)
		if tc.ended != noSide {
			c.flows[tc.ended].eof, c.flows[tc.ended].done = true, true
		}
		s.now = s.clock.now()
		c.lastActive = s.now - int64(tc.silent)
		c.closeForPause(s.loop, silence, s.now+int64(time.Second))
		if c.state != tc.want || (tc.want == arrived) != (c.label == nil) {
			t.Errorf("direction %d ended, silent for %v: got %v; want %v", tc.ended, tc.silent, c.state, tc.want)
		}
	}
	if got := s.counters[0].closed[Killed]; got != 2 {
		t.Errorf("reset: got %d; want 2", got)
	}
}

func TestFailoverCutsTheClosing(t *testing.T) {
	s := newPairs(t, Config{})
	_, master, g := s.closing(t, testTimeout)
	cut := s.p.SetMaster("default", Master{Address: netip.MustParseAddrPort("127.0.0.1:1")})
	if cut.Dropped != 1 {
		t.Errorf("dropped: got %d; want 1", cut.Dropped)
	}
	g.wantReturn(t, nil)
	wantEnded(t, s.p, 0, 0)
	if l := s.p.Snapshot().Labels[0]; l.Closed[Failover] != 1 {
		t.Errorf("closed by the failover: got %d; want 1", l.Closed[Failover])
	}
	if _, err := master.Write([]byte("x")); err == nil {
		eventually(t, "the reset of the old master", func() bool { _, err := master.Write([]byte("x")); return err != nil })
	}
}

func TestKillResetsTheClosing(t *testing.T) {
	s := newPairs(t, Config{})
	client, _ := s.next(t)
	g := beginDrain(t, s.p, 0, testTimeout)
	wantEOF(t, "client", client)
	if n, err := s.p.Kill(""); n != 1 || err != nil {
		t.Errorf("kill: got %d, %v; want 1", n, err)
	}
	g.wantReturn(t, nil)
}

// TestDrainCalledOffKeepsTheRest: what has had its FIN goes, by the
// deadline of before; nothing else does.
// TestEachDrainCountsForItself: one that was called off has had its tries.
func TestEachDrainCountsForItself(t *testing.T) {
	p, s := stopped(t, Config{}, nopLog)
	c, _ := s.adopt(t, relaying)
	s.closed, c.talked = 3, 3
	p.beginClosing(closingWindow{})
	s.runTasks()
	if s.closed != 0 || c.talked != 0 {
		t.Errorf("closed, and times that a connection talked, in a drain that begins: got %d, %d; want none", s.closed, c.talked)
	}
}

func TestDrainCalledOffKeepsTheRest(t *testing.T) {
	s := newPairs(t, Config{Shards: 1})
	const conns = 8
	clients, masters := make([]*net.TCPConn, conns), make([]*net.TCPConn, conns)
	for i := range conns {
		clients[i], masters[i] = s.next(t)
	}
	// Half a closing window, and then no more steps.
	until := s.p.clock.now() + int64(time.Second)
	eventually(t, "half of them to be closing", func() bool {
		closed := 0
		onShard(s.p, 0, func(s *shard) {
			for closeSome := s.closeGracefully(0.5, until); closeSome(); {
			}
			closed = s.closed
		})
		return closed == conns/2
	})
	eventually(t, "the closing to be gone", func() bool { return s.p.Active() == conns/2 })
	if now := s.p.clock.now(); now < until {
		t.Errorf("the closing were gone %v before the deadline; want them to have their time", time.Duration(until-now))
	}
	wantEnded(t, s.p, conns/2, 0)
	alive := 0
	for i, c := range clients {
		_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		_ = c.SetReadDeadline(time.Now().Add(testTimeout))
		alive++
		passes(t, c, masters[i], "up")
		passes(t, masters[i], c, "down")
	}
	if alive != conns/2 {
		t.Errorf("connections that live on: got %d; want %d", alive, conns/2)
	}
}

func TestHeldClientsHaveFINAtTheDeadlineUnlessTheyHaveSpoken(t *testing.T) {
	p, address := running(t, Config{HoldTimeout: 2 * testTimeout, Shards: 2}, "")
	quiet, spoken := dialed(t, address), dialed(t, address)
	if _, err := io.WriteString(spoken, "a request that nobody has read"); err != nil {
		t.Fatal(err)
	}
	inState(t, p, held, 2)
	g := beginDrain(t, p, 0, 500*time.Millisecond)
	wantEOF(t, "held client", quiet)
	if _, err := spoken.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("end of the client that has spoken: got %v; want a reset", err)
	}
	g.wantReturn(t, context.DeadlineExceeded)
	wantEnded(t, p, 2, 1)
	if l := p.Snapshot().Labels[0]; l.Held != 0 || l.Active != 0 {
		t.Errorf("held, active: got %d, %d; want none", l.Held, l.Active)
	}
}

// TestClosingWindowMakesRoomForTheQueue: clients that wait to be accepted keep
// nobody else from a graceful close.
func TestClosingWindowMakesRoomForTheQueue(t *testing.T) {
	p, address := running(t, Config{MaxConns: 1}, echo(t))
	first := dialed(t, address)
	roundTrip(t, first, []byte("x"))
	second := dialed(t, address) // in the queue
	g := beginDrain(t, p, 0, testTimeout)
	wantEOF(t, "first client", first)
	first.Close()
	if _, err := second.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(second) // accepted, served, closed
	if string(got) != "x" || err != nil {
		t.Errorf("second client: got %q, %v; want its echo, then FIN", got, err)
	}
	second.Close()
	g.wantReturn(t, nil)
	wantEnded(t, p, 2, 2)
}

func TestClosingWindowIsTheLastFifthAndFiveSecondsAtMost(t *testing.T) {
	p, _ := running(t, Config{}, "")
	for _, c := range []struct{ left, window time.Duration }{
		{0, 0},
		{-time.Second, 0},
		{400 * time.Millisecond, 0},
		{10 * time.Second, 2 * time.Second},
		{5 * time.Minute, 5 * time.Second},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), c.left)
		f := p.newClosingWindow(ctx)
		cancel()
		got := time.Duration(f.ends - f.begins).Round(100 * time.Millisecond)
		if got != c.window || f.isNone() != (c.window == 0) {
			t.Errorf("%v left: got a closing window of %v; want %v", c.left, got, c.window)
		}
	}
	if f := p.newClosingWindow(context.Background()); !f.isNone() {
		t.Errorf("no deadline: got a closing window; want none")
	}
}

// TestConnectionsToCloseAreCountedInPieces: a failover does not wait for the
// count of all that a shard has.
func TestConnectionsToCloseAreCountedInPieces(t *testing.T) {
	const want = 4
	s := newPairs(t, Config{Shards: 1})
	pieces := 0
	onShard(s.p, 0, func(s *shard) {
		for s.conns.size() < want*slotsPerPiece {
			s.conns.chunks = append(s.conns.chunks, new([slabChunk]conn))
		}
		count := s.closeGracefully(0, 0) // nothing is due: it counts, and no more
		for pieces = 1; count(); pieces++ {
		}
	})
	if pieces < want {
		t.Errorf("pieces: got %d; want %d or more", pieces, want)
	}
}

// TestGracefulCloseAsksTheFence: a FIN to a master whose time is over would
// have it take what it got for whole.
func TestGracefulCloseAsksTheFence(t *testing.T) {
	s := newPairs(t, Config{Shards: 1})
	s.next(t)
	until := s.p.clock.now() + int64(testTimeout)
	tryToClose := func() (closed int) {
		onShard(s.p, 0, func(s *shard) { closed = s.tryToCloseAll(until) })
		return closed
	}
	lb := s.p.labels[0]
	present := lb.current.Load()
	lb.current.Store(newEpoch(present.number+1, Master{}))
	if n := tryToClose(); n != 0 {
		t.Errorf("closed after the store of another epoch: got %d; want 0", n)
	}
	lb.current.Store(present)
	if n := tryToClose(); n != 1 {
		t.Errorf("closed in its own epoch: got %d; want 1", n)
	}
}

// TestStreamThatIsCopiedForAWhileStillRestsLikeAStream: a reader that is fast empties
// it in small pieces, and between two of them a FIN would look like its end.
func TestStreamThatIsCopiedForAWhileStillRestsLikeAStream(t *testing.T) {
	l, c := &loop{scratch: make([]byte, scratchSize), now: int64(silence) + 1}, &conn{}
	if c.talks(l, silence) {
		t.Error("nothing has moved for longer than the silence: got a connection that talks")
	}
	c.stopStreaming(down)
	if !c.talks(l, silence) {
		t.Error("it streamed until now: got one that is silent after less than a stream may pause for")
	}
	for range streamedReads {
		c.noteRead(l, down, 100)
	}
	if c.talks(l, silence) {
		t.Errorf("after %d small reads: got a stream still", streamedReads)
	}
}

// TestNothingIsEndedForAPauseWhileItIsInDoubtOrOnItsWay: one that is half-closed and
// long silent would be reset.
func TestNothingIsEndedForAPauseWhileItIsInDoubtOrOnItsWay(t *testing.T) {
	for name, c := range map[string]struct {
		of    func(*shard, *conn)
		ended bool
	}{
		"silent":               {func(*shard, *conn) {}, true},
		"in doubt":             {func(s *shard, _ *conn) { s.lapse() }, false},
		"bytes on their way":   {func(s *shard, c *conn) { c.flows[down].rest = s.leftovers.keep([]byte("x")) }, false},
		"one side is in error": {func(_ *shard, c *conn) { c.brokeFirst = client }, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, s := stopped(t, Config{}, nopLog)
			conn, _ := s.adopt(t, relaying)
			conn.flows[up].eof = true
			conn.lastActive = s.now - int64(time.Hour)
			c.of(s, conn)
			conn.closeForPause(s.loop, silence, s.now+int64(testTimeout))
			if ended := s.counters[0].active == 0; ended != c.ended {
				t.Errorf("ended: got %t; want %t", ended, c.ended)
			}
		})
	}
}
