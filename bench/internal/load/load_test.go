package load

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// The test's own binary is the worker that Start starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == WorkerArg {
		if err := Work(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

const testTimeout = 30 * time.Second

func startWorker(t *testing.T) *Worker {
	t.Helper()
	w, err := Start(context.Background()) // t's context ends before the cleanup
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	return w
}

func begin(t *testing.T, how func(string, Spec) (*Group, error), address string, s Spec) *Group {
	t.Helper()
	g, err := how(address, s)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func await(t *testing.T, g *Group, done func(*Stats) bool) *Stats {
	t.Helper()
	s, err := g.Await(t.Context(), testTimeout, done)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// pair is a master and clients of it, in workers of their own.
func pair(t *testing.T, master, client Spec) (atMaster, atClient *Group) {
	t.Helper()
	atMaster = begin(t, startWorker(t).Listen, "127.0.0.1:0", master)
	return atMaster, begin(t, startWorker(t).Open, atMaster.Address, client)
}

func TestExchangesOfAnySizeAreCountedOnBothSides(t *testing.T) {
	for _, size := range []int{1, 64, 32 << 10, largestMessage} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			master, clients := pair(t, Spec{Kind: Echo, Request: size, Response: size, ID: 1}, Spec{Kind: Exchange, Count: 3, Request: size, Response: size})
			s := await(t, clients, func(s *Stats) bool { return s.Exchanges >= 50 })
			m := await(t, master, func(m *Stats) bool { return m.Exchanges >= s.Exchanges })
			if s.Latency.Count != int64(s.Exchanges) || s.Latency.P50 <= 0 || s.Latency.P50 > s.Latency.P99 || s.Latency.P99 > s.Latency.Max {
				t.Errorf("latencies: got %+v; want one of each of %d exchanges, in order", s.Latency, s.Exchanges)
			}
			if least := s.Exchanges * uint64(size); s.Bytes < least || m.Bytes < least {
				t.Errorf("bytes: got %d and %d; want %d at least", s.Bytes, m.Bytes, least)
			}
			if s.Failed != 0 || s.Live != 3 || m.Live != 3 {
				t.Errorf("connections: got %d and %d live, %d failed; want 3, 3 and none", s.Live, m.Live, s.Failed)
			}
		})
	}
}

func TestEchoSkipsTheHeaderAndWantsOne(t *testing.T) {
	master := begin(t, startWorker(t).Listen, "127.0.0.1:0", Spec{Kind: Echo, Request: 4, Response: 4, ID: 'x', Header: true})
	for _, tc := range []struct {
		sent []string
		want string
	}{
		{[]string{"PROXY TCP4 127.0.0.1 127.0.0.2 1 2\r\nping"}, "xxxx"},
		{[]string{"PROXY TCP4 127.0.0.1", " 127.0.0.2 1 2\r\n", "pi", "ng"}, "xxxx"},
		{[]string{"ping\n"}, ""},
		{[]string{strings.Repeat("p", longestHeader)}, ""},
	} {
		c, err := net.Dial("tcp", master.Address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(testTimeout)); err != nil {
			t.Fatal(err)
		}
		for _, part := range tc.sent {
			if _, err := io.WriteString(c, part); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond) // segments of their own, most likely: either way it must do
		}
		got := make([]byte, 4)
		if n, err := io.ReadFull(c, got); string(got[:n]) != tc.want || (tc.want == "") != (err != nil) {
			t.Errorf("%q: got %q, %v; want %q", tc.sent, got[:n], err, tc.want)
		}
	}
}

func TestPacedExchangesAreNoMoreThanTheirRate(t *testing.T) {
	const rate = 200
	_, clients := pair(t, Spec{Kind: Echo, Request: 8, Response: 8, ID: 1}, Spec{Kind: Exchange, Count: 10, Request: 8, Response: 8, Rate: rate})
	began, err := clients.Mark(0)
	if err != nil {
		t.Fatal(err)
	}
	s := await(t, clients, func(s *Stats) bool { return s.Exchanges >= 20 })
	// Turns that were missed are made up for: ten connections may each have one more.
	if most := rate*float64(s.At-began.At)/1e9 + 2*10; float64(s.Exchanges) > most {
		t.Errorf("exchanges: got %d; want at most %.0f", s.Exchanges, most)
	}
}

func TestBulkGoesBothWays(t *testing.T) {
	const enough = 4 * memorySize
	master, clients := pair(t, Spec{Kind: Discard}, Spec{Kind: Send, Count: 2})
	await(t, master, func(s *Stats) bool { return s.Live == 2 && s.Bytes > enough })
	await(t, clients, func(s *Stats) bool { return s.Bytes > enough })

	_, clients = pair(t, Spec{Kind: Source}, Spec{Kind: Receive, Count: 2})
	await(t, clients, func(s *Stats) bool { return s.Live == 2 && s.Bytes > enough })
}

func TestSinkThatCopiesCountsWhatComes(t *testing.T) {
	const enough, call = 4 * memorySize, 64 << 10
	master, clients := pair(t, Spec{Kind: Discard, Copy: call}, Spec{Kind: Send, Count: 2})
	await(t, master, func(s *Stats) bool { return s.Live == 2 && s.Bytes > enough })
	await(t, clients, func(s *Stats) bool { return s.Failed == 0 && s.Bytes > enough })

	_, clients = pair(t, Spec{Kind: Source}, Spec{Kind: Receive, Count: 2, Copy: call})
	await(t, clients, func(s *Stats) bool { return s.Live == 2 && s.Bytes > enough })
}

// Whoever has been paid stays, so that the proxy between has both to keep.
func TestSourceSendsWhatItOwesAndStays(t *testing.T) {
	const owed = 3*memorySize + 1
	master, clients := pair(t, Spec{Kind: Source, Owed: owed}, Spec{Kind: Receive, Count: 3})
	s := await(t, clients, func(s *Stats) bool { return s.Bytes >= 3*owed })
	m := await(t, master, func(m *Stats) bool { return m.Bytes >= 3*owed })
	if s.Bytes != 3*owed || m.Bytes != 3*owed || s.Live != 3 || m.Live != 3 {
		t.Errorf("bytes and live: got %d, %d at the clients and %d, %d at the master; want %d and 3", s.Bytes, s.Live, m.Bytes, m.Live, 3*owed)
	}
}

// Small buffers on both sides, and none in between: hardly a byte of what is owed goes out.
func TestClientThatDoesNotReadHoldsTheSourceUp(t *testing.T) {
	const owed, buffer = 4 << 20, 16 << 10
	master, clients := pair(t, Spec{Kind: Source, Owed: owed, Buffer: buffer}, Spec{Kind: Ignore, Count: 2, Buffer: buffer})
	await(t, clients, func(s *Stats) bool { return s.Live == 2 })
	await(t, master, func(m *Stats) bool { return m.Live == 2 && m.Bytes > 0 })
	time.Sleep(100 * time.Millisecond)
	m, err := master.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if m.Bytes > owed {
		t.Errorf("sent to two clients that do not read: got %d bytes; want less than half of the %d owed", m.Bytes, 2*owed)
	}
}

func TestSlowReaderTakesNoMoreThanItsRate(t *testing.T) {
	const rate, chunk = 50, 1000
	_, clients := pair(t, Spec{Kind: Source}, Spec{Kind: Receive, Count: 1, Rate: rate, Chunk: chunk})
	began, err := clients.Mark(0)
	if err != nil {
		t.Fatal(err)
	}
	s := await(t, clients, func(s *Stats) bool { return s.Bytes >= 5*chunk })
	if most := (rate*float64(s.At-began.At)/1e9 + 2) * chunk; float64(s.Bytes) > most {
		t.Errorf("bytes: got %d; want at most %.0f", s.Bytes, most)
	}
}

func TestPacedSenderSendsNoMoreThanItsRate(t *testing.T) {
	const rate, chunk = 50, 1000
	master, clients := pair(t, Spec{Kind: Discard}, Spec{Kind: Send, Count: 1, Rate: rate, Chunk: chunk})
	await(t, master, func(s *Stats) bool { return s.Live == 1 })
	began, err := clients.Mark(0)
	if err != nil {
		t.Fatal(err)
	}
	s := await(t, clients, func(s *Stats) bool { return s.Bytes >= 5*chunk })
	if most := (rate*float64(s.At-began.At)/1e9 + 2) * chunk; float64(s.Bytes) > most {
		t.Errorf("bytes: got %d; want at most %.0f", s.Bytes, most)
	}
}

func TestShortConnectionsLeaveNoneBehind(t *testing.T) {
	master, clients := pair(t, Spec{Kind: Echo, Request: 64, Response: 64, ID: 1}, Spec{Kind: Once, Count: 4, Request: 64, Response: 64})
	s := await(t, clients, func(s *Stats) bool { return s.Exchanges >= 200 })
	if s.Live > 4 || s.Failed != 0 {
		t.Errorf("connections: got %d live, %d failed; want at most 4 and none", s.Live, s.Failed)
	}
	await(t, master, func(m *Stats) bool { return m.Exchanges >= 200 && m.Live <= 8 })
}

func TestHeldConnectionsThatAreCutAreCounted(t *testing.T) {
	masters, clients := startWorker(t), startWorker(t)
	master := begin(t, masters.Listen, "127.0.0.1:0", Spec{Kind: Echo, Request: 8, Response: 8, ID: 1})
	held := begin(t, clients.Open, master.Address, Spec{Kind: Hold, Count: 300, Request: 8, Response: 8})
	await(t, held, func(s *Stats) bool { return s.Served == 300 && s.Live == 300 })
	began, err := held.Mark(0)
	if err != nil {
		t.Fatal(err)
	}
	masters.Stop()
	s := await(t, held, func(s *Stats) bool { return s.Closed == 300 })
	if s.Live != 0 || s.Served != 0 || s.LastClosed < began.At || s.LastClosed > s.At {
		t.Errorf("after the cut: got %+v; want none live or served, and the last closed between %d and now", s, began.At)
	}
}

// The election as clients see it: those of the old master are cut, meet it
// again or are refused, and in the end are all with the new one.
func TestOnlyTheWantedMasterServesThoseWhoComeBack(t *testing.T) {
	old, clients := startWorker(t), startWorker(t)
	master := begin(t, old.Listen, "127.0.0.1:0", Spec{Kind: Echo, Request: 8, Response: 8, ID: 1})
	held := begin(t, clients.Open, master.Address, Spec{Kind: Hold, Count: 20, Request: 8, Response: 8, Return: true})
	await(t, held, func(s *Stats) bool { return s.Served == 20 })
	if _, err := held.Mark(2); err != nil {
		t.Fatal(err)
	}
	old.Stop()

	again := startWorker(t)
	begin(t, again.Listen, master.Address, Spec{Kind: Echo, Request: 8, Response: 8, ID: 1})
	await(t, held, func(s *Stats) bool { return s.Closed >= 20 && s.Live == 20 })
	if s, err := held.Stats(); err != nil || s.Served != 0 {
		t.Errorf("with the old master again: got %d served, error %v; want none", s.Served, err)
	}
	again.Stop()

	begin(t, startWorker(t).Listen, master.Address, Spec{Kind: Echo, Request: 8, Response: 8, ID: 2})
	s := await(t, held, func(s *Stats) bool { return s.Served == 20 })
	if s.Closed != 40 || s.FirstServed < s.LastClosed-int64(testTimeout) || s.LastServed < s.FirstServed {
		t.Errorf("with the new master: got %+v; want 40 closed in two cuts, and times in order", s)
	}
}

func TestNoTrafficLeavesTheMachine(t *testing.T) {
	w := startWorker(t)
	for _, address := range []string{"192.0.2.1:80", "0.0.0.0:0", "[::1]:80", "example.com:80"} {
		if _, err := w.Open(address, Spec{Kind: Send, Count: 1}); err == nil {
			t.Errorf("open %s: got no error; want a refusal", address)
		}
		if _, err := w.Listen(address, Spec{Kind: Discard}); err == nil {
			t.Errorf("listen on %s: got no error; want a refusal", address)
		}
	}
}

func TestWorkerSaysWhatItDoesNotUnderstand(t *testing.T) {
	w := startWorker(t)
	if _, err := w.Listen("127.0.0.1:0", Spec{Kind: Discard, Copy: -1}); err == nil || !strings.Contains(err.Error(), "copy -1") {
		t.Errorf("a copy of less than nothing: got %v; want an error that names it", err)
	}
	if _, err := w.Listen("127.0.0.1:0", Spec{Kind: "shout"}); err == nil || !strings.Contains(err.Error(), "shout") {
		t.Errorf("unknown kind: got %v; want an error that names it", err)
	}
	if _, err := (&Group{w: w, number: 9}).Stats(); err == nil {
		t.Error("stats of no group: got no error")
	}
	if _, err := w.Listen("127.0.0.1:0", Spec{Kind: Discard}); err != nil {
		t.Errorf("after the mistakes: %v", err)
	}
}
