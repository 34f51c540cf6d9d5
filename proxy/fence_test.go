package proxy

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/proxy/internal/proxyproto"
	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// The store alone stops every transfer: no message has reached a shard here.
func TestNoTransferBeginsAfterTheStore(t *testing.T) {
	p, address := running(t, Config{Shards: 1}, echo(t))
	c := dialed(t, address)
	roundTrip(t, c, []byte("before"))

	o := p.labels[0]
	old := o.current.Load()
	o.current.Store(newEpoch(old.number+1, Master{Address: netip.MustParseAddrPort("127.0.0.1:1")}))
	if _, err := c.Write([]byte("after")); err != nil {
		t.Fatal(err)
	}
	// The shard has seen the event when it answers a task posted after the
	// bytes have arrived at its socket.
	eventually(t, "the bytes to arrive", func() bool {
		unread := false
		onShard(p, 0, func(s *shard) {
			s.conns.all(func(c *conn) { unread = unread || c.sides[client].readable })
		})
		return unread
	})
	if err := c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 16)); !os.IsTimeout(err) {
		t.Fatalf("read after the store: got %d bytes, %v; want a timeout", n, err)
	}
	if got, want := p.Snapshot().Labels[0].BytesUp, uint64(len("before")); got != want {
		t.Errorf("bytes taken from the client: got %d; want %d", got, want)
	}

	o.current.Store(old)
	onShard(p, 0, func(s *shard) { s.conns.all(func(c *conn) { c.enqueue(s.loop) }) })
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 16)); n != len("after") || err != nil {
		t.Errorf("read with the epoch back in force: got %d bytes, %v; want %d", n, err, len("after"))
	}
}

// TestDialThatIsAnsweredAfterTheStoreIsCarried: its client has not reached the
// old master, and is none of those that are reset.
func TestDialThatIsAnsweredAfterTheStoreIsCarried(t *testing.T) {
	p, address := running(t, Config{Shards: 1, HoldTimeout: testTimeout}, "")
	client := dialed(t, address)
	inState(t, p, held, 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	old, young := Master{Address: netip.MustParseAddrPort(l.Addr().String())}, Master{Address: netip.MustParseAddrPort(echo(t))}
	carried, dropped := 0, 0
	onShard(p, 0, func(s *shard) {
		lb := s.labels[0]
		lb.current.Store(newEpoch(1, old))
		c := s.only()
		c.dial(s.loop)
		eventually(t, "the old master's answer", func() bool { return isConnected(int(c.sides[master].fd)) })
		lb.current.Store(newEpoch(2, young))
		c.onEvent(s.loop, master, sock.ReadyOut)
		carried = s.failOver(lb, func(j *cutJob) { dropped = j.closed })
		s.workOnCuts(cutsPerIteration)
		s.resume(lb)
	})
	if carried != 1 || dropped != 0 {
		t.Errorf("carried, dropped: got %d, %d; want 1, 0", carried, dropped)
	}
	roundTrip(t, client, []byte("x"))
	if got := p.Connections(Filter{})[0].Master; got != young.Address.String() {
		t.Errorf("master: got %s; want %v", got, young.Address)
	}
	atOld, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer atOld.Close()
	if n, err := atOld.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("end of the connection to the old master: got %d bytes, %v; want a reset", n, err)
	}
}

// TestDialThatFailsDuringAFailoverIsTriedAtOnceWithTheNewMaster: between the
// store and its place in the cut, where many others are before it.
func TestDialThatFailsDuringAFailoverIsTriedAtOnceWithTheNewMaster(t *testing.T) {
	p, s := stopped(t, Config{HoldTimeout: testTimeout}, nopLog)
	lb := p.labels[0]
	c, _ := s.adopt(t, dialing)
	c.epoch = lb.current.Load()
	c.dials = 9
	lb.current.Store(newEpoch(1, multicast))
	if carried := s.failOver(lb, func(*cutJob) {}); carried != 1 {
		t.Errorf("carried: got %d; want 1", carried)
	}
	s.resume(lb)
	c.dialTimedOut(s.loop)
	s.workOnCuts(cutsPerIteration)
	if c.queuePlace == 0 || c.dials != 0 {
		t.Errorf("it may be dialled, failed attempts: got %v, %d; want true, none", c.queuePlace != 0, c.dials)
	}
}

// TestDialToTheNewMasterIsNotTakenBack: the one to the old had failed before the
// cut came to it.
func TestDialToTheNewMasterIsNotTakenBack(t *testing.T) {
	p, s := stopped(t, Config{HoldTimeout: testTimeout}, nopLog)
	lb := p.labels[0]
	c, _ := s.adopt(t, dialing)
	c.epoch = lb.current.Load()
	lb.current.Store(newEpoch(1, Master{Address: netip.MustParseAddrPort(echo(t))}))
	s.failOver(lb, func(*cutJob) {})
	c.dialTimedOut(s.loop)
	c.dial(s.loop)
	s.workOnCuts(cutsPerIteration)
	if c.state != dialing || c.epoch != lb.current.Load() {
		t.Errorf("got %v of epoch %v; want the dial under way", c.state, c.epoch)
	}
}

// TestConnectionThatIsNewerThanTheStoreIsNotCut: a shard may see the new epoch
// before it is told to look for connections of earlier ones.
func TestConnectionThatIsNewerThanTheStoreIsNotCut(t *testing.T) {
	p, s := stopped(t, Config{}, nopLog)
	lb := p.labels[0]
	lb.current.Store(newEpoch(1, elsewhere))
	c, _ := s.adopt(t, relaying)
	dropped := -1
	carried := s.failOver(lb, func(j *cutJob) { dropped = j.closed })
	s.workOnCuts(cutsPerIteration)
	if carried != 0 || dropped != 0 || c.state != relaying {
		t.Errorf("carried, dropped, state: got %d, %d, %v; want 0, 0, relaying", carried, dropped, c.state)
	}
}

func TestFailoverCountsThoseWhoWaitAndLeavesTheKilledToTheKill(t *testing.T) {
	p, s := stopped(t, Config{HoldTimeout: testTimeout}, nopLog)
	lb := p.labels[0]
	s.adopt(t, held)
	s.killOf(lb)
	for _, st := range []state{arrived, header, held} {
		s.adopt(t, st)
	}
	lb.current.Store(newEpoch(1, Master{}))
	dropped := -1
	if carried := s.failOver(lb, func(j *cutJob) { dropped = j.closed }); carried != 3 {
		t.Errorf("carried: got %d; want 3", carried)
	}
	s.workOnCuts(cutsPerIteration)
	if got := s.counters[0].closed; dropped != 0 || got[Killed] != 1 {
		t.Errorf("dropped, killed: got %d, %d; want 0, 1", dropped, got[Killed])
	}
}

// TestOneChangeOfMasterAtATime: the next begins when the cut of the one before has ended.
func TestOneChangeOfMasterAtATime(t *testing.T) {
	p, a, _ := twoLabels(t)
	stuck, proceed := make(chan struct{}), make(chan struct{})
	p.shards[0].mail.post(func() (more bool) { close(stuck); <-proceed; return false })
	<-stuck
	before := a.current.Load().number
	cuts := make(chan Cut, 2)
	change := func(to Master) { cuts <- p.SetMaster("a", to) }
	go change(elsewhere)
	eventually(t, "the first change", func() bool { return a.current.Load().number == before+1 })
	go change(Master{})
	time.Sleep(50 * time.Millisecond) // the absence of an event: nothing to wait for
	if got := a.current.Load().number; got != before+1 {
		t.Errorf("epoch during the first change: got %d; want %d", got, before+1)
	}
	close(proceed)
	for want := before + 1; want <= before+2; want++ {
		if cut := <-cuts; cut.Epoch != want {
			t.Errorf("epoch of the change that ended: got %d; want %d", cut.Epoch, want)
		}
	}
}

// isConnected reports whether the handshake of fd is over.
func isConnected(fd int) bool {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	const established = 1
	return err == nil && info.State == established
}

// only is the shard's one connection.
func (s *shard) only() (only *conn) {
	s.conns.all(func(c *conn) { only = c })
	return only
}

// TestNoFINGoesToAMasterAfterTheStore: it would deliver what is queued for it.
func TestNoFINGoesToAMasterAfterTheStore(t *testing.T) {
	s := newPairs(t, Config{Shards: 1})
	client, master := s.next(t)
	closed := 0
	onShard(s.p, 0, func(s *shard) {
		lb := s.labels[0]
		old := lb.current.Load()
		lb.current.Store(newEpoch(old.number+1, Master{}))
		closed = s.tryToCloseAll(s.now + int64(testTimeout))
		lb.current.Store(old)
	})
	if closed != 0 {
		t.Errorf("closed gracefully: got %d; want none", closed)
	}
	passes(t, client, master, "up")
	passes(t, master, client, "down")
}

// TestConnectionThatIsOverIsLeftToTheCutAfterTheStore: the end that it was to have
// would tell the old master, by FIN, that it has had all.
func TestConnectionThatIsOverIsLeftToTheCutAfterTheStore(t *testing.T) {
	p, s := stopped(t, Config{}, nopLog)
	c, peers := s.adopt(t, relaying)
	c.flows[up].done, c.flows[down].done = true, true
	p.labels[0].current.Store(newEpoch(1, Master{}))
	c.relay(s.loop)
	if _, err := sock.Receive(peers[master], s.scratch); err != sock.ErrAgain {
		t.Errorf("the old master got %v; want nothing", err)
	}
}

func TestNoHeaderGoesToAMasterAfterTheStore(t *testing.T) {
	p, s := stopped(t, Config{SendProxy: ProxyV1}, nopLog)
	c, peers := s.adopt(t, relaying)
	c.origin = &proxyproto.Origin{Source: netip.MustParseAddrPort("192.0.2.1:1"), Destination: netip.MustParseAddrPort("192.0.2.2:2")}
	p.labels[0].current.Store(newEpoch(1, Master{}))
	if !c.sendHeader(s.loop) {
		t.Error("the connection was ended; want it to be left to the cut")
	}
	if n, err := sock.Receive(peers[master], s.scratch); err != sock.ErrAgain {
		t.Errorf("the old master got %d bytes, %v; want none", n, err)
	}
}

func TestMastersSidesAreResetBeforeAnyClientsSide(t *testing.T) {
	p, address := running(t, Config{Shards: 1}, echo(t))
	for range 10 {
		roundTrip(t, dialed(t, address), []byte("x"))
	}
	onShard(p, 0, func(s *shard) {
		j := &cutJob{reason: Failover, done: func(*cutJob) {}}
		s.conns.all(j.add)
		for range j.victims {
			s.cutNext(j)
		}
		s.start(j)
		for _, r := range j.victims {
			c := s.conns.get(r)
			if c == nil || c.sides[client].fd == sock.NoFD {
				t.Error("a client's side was closed before the last master's side")
			} else if c.sides[master].fd != sock.NoFD {
				t.Error("a master's side is still open after as many closes as there are victims")
			}
		}
	})
	eventually(t, "the cut to end", func() bool { return p.Active() == 0 })
}

func TestNothingTouchesAConnectionWhoseEndIsOrdered(t *testing.T) {
	p, address := running(t, Config{Shards: 1}, echo(t))
	c := dialed(t, address)
	roundTrip(t, c, []byte("x"))
	onShard(p, 0, func(s *shard) {
		s.conns.all(func(c *conn) {
			c.state = cutting
			c.onEvent(s.loop, client, sock.ReadyIn|sock.ReadyOut)
			c.onEvent(s.loop, master, sock.ReadyError)
			if c.sides[client].fd == sock.NoFD || c.sides[master].fd == sock.NoFD {
				t.Error("an event closed a socket of a connection that is being cut")
			}
			c.state = relaying
		})
	})
}
