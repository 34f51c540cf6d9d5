package proxy

import (
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// sinceBoot is the time that Confirm and Lease are given in.
func sinceBoot() time.Duration { return time.Duration(sock.BootTime()) }

// standStill has every shard find that it stood still.
func standStill(p *Proxy) {
	for i := range p.shards {
		onShard(p, i, func(s *shard) {
			s.now -= 2 * int64(standstill)
			s.lookAtClock()
		})
	}
}

// doubting serves an echo under a label whose masters are to be confirmed.
func doubting(t *testing.T, revalidate time.Duration) (p *Proxy, address string, asked *atomic.Int64) {
	t.Helper()
	asked = new(atomic.Int64)
	p = served(t, Config{
		Shards: 2, HoldTimeout: time.Minute, OnStandstill: func() { asked.Add(1) },
		Listeners: []Listener{{Label: "default", Address: "127.0.0.1:0", Revalidate: revalidate}},
	})
	p.SetMaster("default", Master{Address: netip.MustParseAddrPort(echo(t))})
	return p, p.Snapshot().Labels[0].Listen, asked
}

// wantSilence fails when a byte comes back within the time.
func wantSilence(t *testing.T, c interface {
	SetReadDeadline(time.Time) error
	Read([]byte) (int, error)
}, d time.Duration) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(d))
	if n, err := c.Read(make([]byte, 64)); !os.IsTimeout(err) {
		t.Fatalf("read: got %d bytes, %v; want nothing to come", n, err)
	}
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
}

func TestNothingMovesAfterAStandstillUntilTheMasterIsConfirmed(t *testing.T) {
	p, address, asked := doubting(t, -1)
	live := dialed(t, address)
	roundTrip(t, live, []byte("before"))
	up := p.Snapshot().Labels[0].BytesUp
	long := sinceBoot()

	standStill(p)
	if got := asked.Load(); got == 0 {
		t.Error("nobody was asked to confirm the master")
	}
	if _, err := live.Write([]byte("after")); err != nil {
		t.Fatal(err)
	}
	late := dialed(t, address)
	if _, err := late.Write([]byte("late")); err != nil {
		t.Fatal(err)
	}
	wantSilence(t, live, 200*time.Millisecond)
	p.Confirm("default", long) // a read that began before says nothing
	wantSilence(t, live, 200*time.Millisecond)
	if got := p.Snapshot().Labels[0].BytesUp; got != up {
		t.Errorf("bytes to the master that nobody has confirmed: got %d; want none", got-up)
	}
	inState(t, p, held, 1)

	p.Confirm("default", sinceBoot())
	for c, want := range map[interface{ Read([]byte) (int, error) }]string{live: "after", late: "late"} {
		b := make([]byte, 64)
		if n, err := c.Read(b); string(b[:n]) != want || err != nil {
			t.Errorf("after the confirmation: got %q, %v; want %q", b[:n], err, want)
		}
	}
	// The shard without a client is not waited for by those.
	eventually(t, "no shard to be in doubt", func() bool { return p.inDoubt.Load() == 0 })
}

// TestLatestReadCounts: of reads at several addresses an older one may be told of later.
func TestLatestReadCounts(t *testing.T) {
	p, s := stopped(t, Config{}, nopLog)
	s.labels[0].revalidate = -1
	old := p.now()
	s.now -= 2 * int64(standstill)
	s.lookAtClock()
	p.Confirm("default", p.now())
	if !s.mail.waiting.Load() {
		t.Error("a shard in doubt is not told of the confirmation")
	}
	p.Confirm("default", old)
	if s.settleDoubts(); s.labels[0].isUncertain(s.loop) {
		t.Error("the master that the later read has named is in doubt")
	}
}

// TestEachStandstillIsADoubtOfItsOwn: what was confirmed after the first is in doubt
// again, and a read that began before the second says nothing.
func TestEachStandstillIsADoubtOfItsOwn(t *testing.T) {
	p, err := New(Config{Shards: 1, Listeners: []Listener{
		{Label: "confirmed", Address: "127.0.0.1:0", Revalidate: -1}, {Label: "waits", Address: "127.0.0.1:0", Revalidate: -1},
	}}, nopLog)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	s := p.shards[0]
	standStill := func() {
		s.now -= 2 * int64(standstill)
		s.lookAtClock()
	}
	standStill()
	between := p.now()
	p.Confirm("confirmed", between)
	if s.settleDoubts(); s.labels[0].isUncertain(s.loop) {
		t.Fatal("a label is in doubt though its master was confirmed")
	}
	standStill()
	p.Confirm("waits", between)
	s.settleDoubts()
	if got := p.inDoubt.Load(); got != 1 {
		t.Errorf("shards in doubt: got %d; want 1", got)
	}
	for _, lb := range s.labels {
		if !lb.isUncertain(s.loop) {
			t.Errorf("label %q: its master is trusted after the second standstill; want it in doubt", lb.name)
		}
	}
}

// TestNothingMovesAfterAStandstillWithinATurn: the process was stopped between two
// transfers of one connection.
func TestNothingMovesAfterAStandstillWithinATurn(t *testing.T) {
	for _, tc := range []struct {
		name      string
		streaming bool
		answer    string // has come from the master before
		second    string // comes from the client while the process is stopped
		moved     string // of the first, which the client has sent before
	}{
		{name: "and what it has read in the meantime stays", second: "second", moved: "first"},
		{name: "and the other direction stays", answer: "answer", moved: "first"},
		{name: "and what is in a pipe stays", streaming: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, s := stopped(t, Config{}, nopLog)
			s.labels[0].revalidate = -1
			c, peers := s.adoptTCP(t)
			arrives := func(from, side int, text string) {
				if text == "" {
					return
				}
				if _, err := sock.Send(peers[from], []byte(text)); err != nil {
					t.Fatal(err)
				}
				eventually(t, text, func() bool { return !sock.NothingToRead(int(c.sides[side].fd)) })
				c.sides[side].readable = true
			}
			want := func(when string, at int, text string) {
				t.Helper()
				got := make([]byte, 64)
				n := 0
				if text != "" {
					eventually(t, text, func() bool { return !sock.NothingToRead(peers[at]) })
				}
				if got, err := sock.Receive(peers[at], got); err == nil {
					n = got
				}
				if string(got[:n]) != text {
					t.Errorf("%s, side %d: got %q; want %q", when, at, got[:n], text)
				}
			}
			arrives(client, client, "first")
			arrives(master, master, tc.answer)
			c.flows[up].streaming = tc.streaming
			s.look = func() {
				s.look = s.lookAtClock
				arrives(client, client, tc.second)
				s.now -= 2 * int64(standstill)
				s.look()
			}
			s.lookAtClock()
			c.sides[client].fin = true // so that it is read again
			c.relay(s.loop)
			if !c.label.isUncertain(s.loop) {
				t.Fatal("the master is not in doubt")
			}
			want("in doubt", master, tc.moved)
			want("in doubt", client, "")

			c.sides[client].fin = false
			p.Confirm("default", p.now())
			s.settleDoubts()
			s.runReady()
			want("confirmed", master, strings.TrimPrefix("first"+tc.second, tc.moved))
			want("confirmed", client, tc.answer)
		})
	}
}

// TestNoHeaderAfterAStandstillWithinATurn either: the dial is taken back.
func TestNoHeaderAfterAStandstillWithinATurn(t *testing.T) {
	p, s := stopped(t, Config{SendProxy: ProxyV1, HoldTimeout: testTimeout}, nopLog)
	s.labels[0].revalidate = -1
	p.labels[0].current.Store(newEpoch(1, elsewhere))
	c, peers := s.adoptTCP(t)
	c.state, c.epoch = dialing, p.labels[0].current.Load()
	s.moved = true // something of another connection, in this turn
	s.look = func() {
		s.now -= 2 * int64(standstill)
		s.lookAtClock()
	}
	c.dialAnswered(s.loop)
	if c.state != held {
		t.Errorf("got a client that is %v; want it held", c.state)
	}
	if n, err := sock.Receive(peers[master], make([]byte, 200)); n > 0 {
		t.Errorf("the master: got %d bytes, %v; want none", n, err)
	}
}

func TestShardSleepsNoLongerThanADoubtLasts(t *testing.T) {
	const lasts = longestSleep / 10
	_, s := stopped(t, Config{}, nopLog)
	s.labels[0].revalidate = lasts
	s.now -= 2 * int64(standstill)
	s.lookAtClock()
	if got := s.pollTimeout(); got > lasts {
		t.Errorf("got %v; want %v at most", got, lasts)
	}
}

func TestADoubtEndsWithoutAConfirmationWhereTheLabelSaysSo(t *testing.T) {
	p, address, _ := doubting(t, 300*time.Millisecond)
	c := dialed(t, address)
	roundTrip(t, c, []byte("before"))
	began := time.Now()
	standStill(p)
	roundTrip(t, c, []byte("after"))
	if took := time.Since(began); took < 250*time.Millisecond {
		t.Errorf("moved bytes %v after the standstill; want none for 300ms", took)
	}
}

func TestAMasterThatNeedsNoConfirmationIsNotDoubted(t *testing.T) {
	p, address, asked := doubting(t, 0)
	c := dialed(t, address)
	roundTrip(t, c, []byte("before"))
	standStill(p)
	roundTrip(t, c, []byte("after"))
	if got := asked.Load(); got != 0 {
		t.Errorf("asked to confirm: got %d times; want never", got)
	}
}

func TestAFailoverInDoubtCutsAndItsMasterIsToBeConfirmedToo(t *testing.T) {
	p, address, _ := doubting(t, -1)
	live := dialed(t, address)
	roundTrip(t, live, []byte("before"))
	standStill(p)
	if cut := p.SetMaster("default", Master{Address: netip.MustParseAddrPort(echo(t))}); cut.Dropped != 1 {
		t.Errorf("dropped: got %d; want 1", cut.Dropped)
	}
	late := dialed(t, address)
	if _, err := late.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	wantSilence(t, late, 200*time.Millisecond)
	p.Confirm("default", sinceBoot())
	if n, err := late.Read(make([]byte, 1)); n != 1 {
		t.Errorf("after the confirmation: got %d bytes, %v; want the echo", n, err)
	}
}

// An idle shard looks at the clock by itself: its sleep is no standstill.
func TestIdlenessIsNoStandstill(t *testing.T) {
	p, address, _ := doubting(t, -1)
	c := dialed(t, address)
	roundTrip(t, c, []byte("before"))
	time.Sleep(2 * standstill)
	p.Confirm("default", sinceBoot()) // of a pause that this machine itself may have made
	roundTrip(t, c, []byte("after"))
	for i := range p.shards {
		onShard(p, i, func(s *shard) {
			if s.pollTimeout() > longestSleep {
				t.Errorf("shard %d sleeps %v; want %v at most", i, s.pollTimeout(), longestSleep)
			}
		})
	}
}

func TestNothingMovesAfterALease(t *testing.T) {
	p, address, _ := doubting(t, 0)
	c := dialed(t, address)
	p.Lease("default", sinceBoot()+time.Hour)
	roundTrip(t, c, []byte("before"))
	p.Lease("default", sinceBoot())
	if _, err := c.Write([]byte("after")); err != nil {
		t.Fatal(err)
	}
	late := dialed(t, address)
	if _, err := late.Write([]byte("late")); err != nil {
		t.Fatal(err)
	}
	wantSilence(t, c, 200*time.Millisecond)
	inState(t, p, held, 1)
	p.Lease("default", 0)
	for c, want := range map[interface{ Read([]byte) (int, error) }]string{c: "after", late: "late"} {
		b := make([]byte, 64)
		if n, err := c.Read(b); string(b[:n]) != want || err != nil {
			t.Errorf("with a lease without an end: got %q, %v; want %q", b[:n], err, want)
		}
	}
}

// A lease ends while a shard sleeps: nobody tells it, it looks.
func TestALeaseThatEndsInASleepIsOver(t *testing.T) {
	p, address, _ := doubting(t, 0)
	c := dialed(t, address)
	roundTrip(t, c, []byte("before"))
	p.Lease("default", sinceBoot()+100*time.Millisecond)
	time.Sleep(200 * time.Millisecond)
	if _, err := c.Write([]byte("after")); err != nil {
		t.Fatal(err)
	}
	wantSilence(t, c, 200*time.Millisecond)
}

// The machine's clock that a suspend does not stop is read again when the wall
// clock has left the monotonic one, and only then.
func TestTheClockGoesOnWhileTheMachineIsSuspended(t *testing.T) {
	c := newClock()
	// Far more than two readings are ever apart, and far less than what is at stake.
	near := func(got, want int64) bool { d := time.Duration(got - want); return d.Abs() < 10*time.Second }
	if got, want := c.now(), sock.BootTime(); !near(got, want) {
		t.Errorf("clock: got %v; want %v", time.Duration(got), time.Duration(want))
	}
	// A suspend of an hour: the monotonic clock has missed it, the wall clock has not.
	c.boot -= int64(time.Hour)
	c.wall.Add(-int64(time.Hour))
	if got, want := c.now(), sock.BootTime(); !near(got, want) {
		t.Errorf("clock after a suspend: got %v; want %v", time.Duration(got), time.Duration(want))
	}
	// The wall clock is set: time goes on as before.
	c.wall.Add(int64(time.Minute))
	if got, want := c.now(), sock.BootTime(); !near(got, want) {
		t.Errorf("clock after the wall clock was set: got %v; want %v", time.Duration(got), time.Duration(want))
	}
}
