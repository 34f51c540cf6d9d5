package proxy

import (
	"errors"
	"math"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// TestSlotThatComesBackWhileAShardFindsNoneIsSeen: between its look and its
// word that it waits another shard's last connection ends, which wakes nobody.
func TestSlotThatComesBackWhileAShardFindsNoneIsSeen(t *testing.T) {
	var p *Proxy
	p, address := runningWithLog(t, Config{Shards: 1, MaxConns: 1}, echo(t), zerolog.New(logLines(func(line string) {
		if strings.Contains(line, acceptingPaused) {
			p.slots.give()
		}
	})))
	if !p.slots.take() { // as the other shard had
		t.Fatal("there is no slot")
	}
	roundTrip(t, dialed(t, address), []byte("x"))
}

// TestAcceptingGivesWayToOtherEvents after some of those who wait.
func TestAcceptingGivesWayToOtherEvents(t *testing.T) {
	p, s := stopped(t, Config{HoldTimeout: testTimeout}, nopLog)
	s.acceptAgain()
	for range acceptsPerEvent + 8 {
		dialed(t, p.listeners.sockets[0].bound.String())
	}
	s.acceptFrom(0)
	if s.accepted > acceptsPerEvent {
		t.Errorf("accepted for one event: got %d; want %d at most", s.accepted, acceptsPerEvent)
	}
	eventually(t, "the rest", func() bool { // a handshake may end a little later than connect(2)
		s.acceptFrom(0)
		return s.accepted == acceptsPerEvent+8
	})
}

// TestNobodyJoinsListenersThatAreClosed: a slot that comes back during a pause,
// or at the end, is no reason.
func TestNobodyJoinsListenersThatAreClosed(t *testing.T) {
	p, s := stopped(t, Config{}, nopLog)
	p.listeners.open.Store(false)
	s.acceptAgain()
	if s.accepting {
		t.Error("the shard joined closed listeners")
	}
	p.listeners.open.Store(true)
	s.stopped = true
	s.acceptAgain()
	if s.accepting {
		t.Error("a shard that ends joined the listeners")
	}
}

// TestClientStaysWithTheShardThatAcceptsItWhereSharesAreEvenEnough: to hand it
// over wakes another.
func TestClientStaysWithTheShardThatAcceptsItWhereSharesAreEvenEnough(t *testing.T) {
	p, err := New(Config{Shards: 2, HoldTimeout: testTimeout, Listeners: []Listener{{Label: "default", Address: "127.0.0.1:0"}}}, nopLog)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	here, there := p.shards[0], p.shards[1]
	for _, s := range p.shards {
		s.mail.start()
		defer s.end()
	}
	const many = 10 * imbalance
	for _, c := range []struct {
		here, there int64
		stays       bool
	}{{spareWake, 0, true}, {spareWake + 1, 0, false}, {many + many/imbalance, many, true}, {many + many/imbalance + 2, many, false}, {0, 5, true}} {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer sock.Close(fds[1])
		here.load.Store(c.here)
		there.load.Store(c.there)
		before := [2]uint64{here.accepted, there.accepted}
		here.slots.take()
		here.assign(fds[0], netip.AddrPort{}, p.labels[0])
		there.runTasks()
		want := [2]uint64{before[0], before[1] + 1}
		if c.stays {
			want = [2]uint64{before[0] + 1, before[1]}
		}
		if got := [2]uint64{here.accepted, there.accepted}; got != want {
			t.Errorf("%d here, %d there: clients of each got %v; want %v", c.here, c.there, got, want)
		}
	}
}

// TestClientForAShardThatHasEndedIsReset: it leaves neither a socket nor a slot behind.
func TestClientForAShardThatHasEndedIsReset(t *testing.T) {
	p, err := New(Config{Shards: 2, HoldTimeout: testTimeout, Listeners: []Listener{{Label: "default", Address: "127.0.0.1:0"}}}, nopLog)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	s := p.shards[0]
	s.mail.start()
	defer s.end()
	s.load.Store(2 * spareWake)
	client := dialed(t, p.listeners.sockets[0].bound.String())
	eventually(t, "the handshake to be over", func() bool { return s.slots.take() && s.acceptOne(0) })
	if n, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read: got %d bytes, %v; want a reset", n, err)
	}
	if got := p.Active(); got != 0 {
		t.Errorf("clients: got %d; want none", got)
	}
}

// TestAttemptThatAcceptsNobodyEndsNoShortage: shards would be called back for
// nothing, again and again.
func TestAttemptThatAcceptsNobodyEndsNoShortage(t *testing.T) {
	_, s := stopped(t, Config{}, nopLog)
	s.acceptAgain()
	s.slots.short.Store(true)
	s.acceptFrom(0) // the queue is empty
	if !s.slots.short.Load() || s.slots.used.Load() != 0 {
		t.Errorf("a shard waits for what an end gives back: got %t, with %d slots in use; want true, and none", s.slots.short.Load(), s.slots.used.Load())
	}
}

func TestShardsThatWaitForASlotAreToldOnce(t *testing.T) {
	told := 0
	s := slots{max: 2, freed: func() { told++ }, emptied: make(chan struct{}, 1)}
	s.take()
	s.take()
	s.full.Store(true)
	s.give()
	s.give()
	if told != 1 {
		t.Errorf("told: got %d times; want 1", told)
	}
}

// TestConnectionThatEndsEndsAShortage: what it gives back may be what was short,
// and its clients do not wait for the next try.
func TestConnectionThatEndsEndsAShortage(t *testing.T) {
	p, address := running(t, Config{Shards: 1}, echo(t))
	first := dialed(t, address)
	roundTrip(t, first, []byte("x"))
	onShard(p, 0, func(s *shard) {
		s.shortage = unix.EMFILE
		s.noteShortage()
		s.retryAt = math.MaxInt64
	})
	waits := dialed(t, address)
	if _, err := waits.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if got := p.Snapshot().Labels[0].Accepted; got != 1 {
		t.Errorf("accepted during a shortage: got %d; want only the 1 of before", got)
	}
	first.Close()
	roundTrip(t, waits, []byte("x"))
}
