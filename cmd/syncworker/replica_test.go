package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// scripted is a master that a test plays by hand.
type scripted struct {
	t  *testing.T
	ln net.Listener
}

func newScripted(t *testing.T) *scripted {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return &scripted{t, ln}
}

// accept takes the follower's next connection and reads its first line.
func (s *scripted) accept() (net.Conn, *bufio.Reader, string) {
	s.t.Helper()
	s.ln.(*net.TCPListener).SetDeadline(time.Now().Add(testTimeout))
	conn, err := s.ln.Accept()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(testTimeout))
	in := bufio.NewReader(conn)
	return conn, in, readString(s.t, in)
}

func readString(t *testing.T, in *bufio.Reader) string {
	t.Helper()
	line, err := in.ReadString('\n')
	if err != nil {
		t.Fatalf("read line: %v", err)
	}
	return strings.TrimSuffix(line, "\n")
}

// startReplica follows master with a store that holds before.
func startReplica(t *testing.T, master string, epoch uint64, before ...record) *replica {
	t.Helper()
	r := &replica{master: master, asSlave: true, history: "h", epoch: epoch, self: slaveA, store: newStore(),
		log: zerolog.New(zerolog.NewTestWriter(t))}
	r.store.replace(before, "h")
	r.start(t.Context())
	t.Cleanup(r.stop)
	return r
}

func (s *store) all() []record { log, _ := s.after(0); return log }

func TestIncompleteCopyIsNotTakenOver(t *testing.T) {
	m := newScripted(t)
	before := []record{{"old", 1}, {"old", 2}}
	r := startReplica(t, m.ln.Addr().String(), 1, before...)
	conn, in, _ := m.accept()
	fmt.Fprint(conn, "COPY 1 3 h\nc 1\nc 2\n")
	conn.(*net.TCPConn).CloseWrite()
	if rest, _ := io.ReadAll(in); len(rest) != 0 {
		t.Errorf("follower said %q about an incomplete copy; want nothing", rest)
	}
	if got := r.store.all(); !slices.Equal(got, before) || r.whole() {
		t.Errorf("store got %v, whole %v; want %v as before, false", got, r.whole(), before)
	}
	conn, in, hello := m.accept() // it tries again
	if want := "REPLICATE 2 b slave"; hello != want {
		t.Errorf("follower began with %q; want %q", hello, want)
	}
	fmt.Fprint(conn, "COPY 1 3 h\nc 1\nc 2\nc 3\n")
	if got, want := readString(t, in), "ACK 3"; got != want {
		t.Errorf("follower said %q; want %q", got, want)
	}
	if got, want := r.store.all(), []record{{"c", 1}, {"c", 2}, {"c", 3}}; !slices.Equal(got, want) {
		t.Errorf("store got %v; want %v", got, want)
	}
}

func TestMasterOfAnEarlierEpochIsNotFollowed(t *testing.T) {
	m := newScripted(t)
	r := startReplica(t, m.ln.Addr().String(), 7, record{"old", 1})
	conn, in, _ := m.accept()
	fmt.Fprint(conn, "COPY 6 1 h\nc 1\n")
	if rest, _ := io.ReadAll(in); len(rest) != 0 {
		t.Errorf("follower said %q to a master of an earlier epoch; want nothing", rest)
	}
	if got := r.store.all(); !slices.Equal(got, []record{{"old", 1}}) {
		t.Errorf("store got %v; want it untouched", got)
	}
}

func TestMasterOfAnotherHistoryIsNotFollowed(t *testing.T) {
	m := newScripted(t)
	r := startReplica(t, m.ln.Addr().String(), 1, record{"old", 1})
	conn, in, _ := m.accept()
	fmt.Fprint(conn, "COPY 9 1 other\nc 1\n")
	if rest, _ := io.ReadAll(in); len(rest) != 0 {
		t.Errorf("follower said %q to a master of another history; want nothing", rest)
	}
	if got := r.store.all(); !slices.Equal(got, []record{{"old", 1}}) {
		t.Errorf("store got %v; want it untouched", got)
	}
}

func TestRecordsOfAnotherHistoryStayAsTheyAre(t *testing.T) {
	m := newScripted(t)
	r := startReplica(t, m.ln.Addr().String(), 1)
	m.accept()
	r.stop()
	r.store.replace([]record{{"old", 1}}, "former")
	r.start(t.Context())
	m.ln.(*net.TCPListener).SetDeadline(time.Now().Add(10 * redialEvery)) //nolint:errcheck // a listener takes one
	if conn, err := m.ln.Accept(); err == nil {
		conn.Close()
		t.Error("a worker with records of another history asked for a copy; want it to keep them")
	}
	if got := r.store.all(); !slices.Equal(got, []record{{"old", 1}}) {
		t.Errorf("store got %v; want it untouched", got)
	}
}

// TestFeedEndsWithItsTerm: what the store holds afterwards is another copy, and must
// not go on where the former ended.
func TestFeedEndsWithItsTerm(t *testing.T) {
	for name, before := range map[string][]record{"at once": nil, "later": {{"c", 1}, {"c", 2}}} {
		t.Run(name, func(t *testing.T) {
			tm := startTerm(t, &fakeArbiter{}, 0)
			tm.store.replace(before, "h")
			here, there := net.Pipe()
			defer there.Close()
			ended := make(chan error, 1)
			in := bufio.NewReader(there)
			start := func() { go func() { ended <- tm.send(tm.ctx, here) }() }
			if before != nil {
				start()
				for range 1 + len(before) {
					readString(t, in)
				}
			}
			// The term ends and the store changes before the feed gets to run.
			tm.store.mu.Lock()
			tm.end(errDeposed)
			tm.store.log = []record{{"x", 1}, {"x", 2}, {"x", 3}}
			tm.store.wakeLocked()
			tm.store.mu.Unlock()
			if before == nil {
				start()
			}
			go func() { <-ended; here.Close() }()
			if rest, _ := io.ReadAll(in); len(rest) != 0 {
				t.Errorf("after its term a feed said %q; want nothing", rest)
			}
		})
	}
}

func TestFollowerThatStoppedAcknowledgesNothing(t *testing.T) {
	m := newScripted(t)
	r := startReplica(t, m.ln.Addr().String(), 1)
	conn, in, _ := m.accept()
	fmt.Fprint(conn, "COPY 1 0 h\n")
	readString(t, in)
	r.stop()
	fmt.Fprint(conn, "c 1\n")
	if rest, _ := io.ReadAll(in); len(rest) != 0 {
		t.Errorf("follower said %q after it had stopped; want nothing", rest)
	}
	if got := r.store.size(); got != 0 {
		t.Errorf("store got %d records after it had stopped; want 0", got)
	}
}

func TestRecordOutOfPlaceStartsANewCopy(t *testing.T) {
	m := newScripted(t)
	startReplica(t, m.ln.Addr().String(), 1)
	conn, in, _ := m.accept()
	fmt.Fprint(conn, "COPY 1 1 h\nc 1\n")
	readString(t, in)
	fmt.Fprint(conn, "c 1\n") // cannot be the second
	io.Copy(io.Discard, in)
	m.accept()
}

func TestFollowerGetsTheCopyAndThenEveryRecord(t *testing.T) {
	a := &fakeArbiter{}
	tm := startTerm(t, a, 0)
	for n := uint64(1); n <= 5000; n++ {
		tm.store.put(record{"c", n})
	}
	srv := &server{id: "1", store: tm.store, log: zerolog.Nop(), conns: make(map[net.Conn]bool)}
	srv.term.Store(tm)
	addr := startServer(t, srv)
	r := startReplica(t, addr, 1)
	wantAcknowledged(t, put(tm, 1))
	for n := uint64(5001); n <= 5100; n++ {
		wantAcknowledged(t, put(tm, n))
		if got := r.store.size(); got < int(n) {
			t.Fatalf("record %d is acknowledged and the slave has %d", n, got)
		}
	}
	if !slices.Equal(r.store.all(), tm.store.all()) {
		t.Error("the slave's records differ from the master's")
	}
}

// startServer serves until the test ends.
func startServer(t *testing.T, s *server) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve got %v; want nil", err)
		}
	})
	return ln.Addr().String()
}
