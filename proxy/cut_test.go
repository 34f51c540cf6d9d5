package proxy

import (
	"net/netip"
	"testing"
	"time"
)

// relayingOn opens n connections of a label, and returns when all relay.
func relayingOn(t *testing.T, p *Proxy, lb *label, n int) {
	t.Helper()
	before := p.Active()
	for range n {
		roundTrip(t, dialed(t, p.boundOf(lb)), []byte("x"))
	}
	if got := p.Active(); got != before+n {
		t.Fatalf("connections: got %d; want %d", got, before+n)
	}
}

// twoLabels serves a and b, both with an echo as their master, on one shard.
func twoLabels(t *testing.T) (p *Proxy, a, b *label) {
	t.Helper()
	p = served(t, Config{Shards: 1, HoldTimeout: time.Minute, Listeners: []Listener{{Label: "a", Address: "127.0.0.1:0"}, {Label: "b", Address: "127.0.0.1:0"}}})
	master := netip.MustParseAddrPort(echo(t))
	for _, lb := range p.labels {
		p.SetMaster(lb.name, Master{Address: master})
	}
	return p, p.find("a"), p.find("b")
}

var elsewhere = Master{Address: netip.MustParseAddrPort("127.0.0.1:1")}

// killOf orders the end of lb's connections, as Kill does, on their shard.
func (s *shard) killOf(lb *label) *cutJob {
	j := &cutJob{reason: Killed, done: func(*cutJob) {}}
	for more := s.gather(j, func(c *conn) bool { return c.label == lb }); more(); {
	}
	return j
}

// A Kill had ordered the end of every connection, and SetMaster found nothing to
// do: it returned with most of them open.
func TestFailoverWaitsForConnectionsWhoseEndAKillHadOrdered(t *testing.T) {
	p, a, _ := twoLabels(t)
	relayingOn(t, p, a, cutsPerIteration*3)
	ordered := make(chan struct{})
	p.shards[0].mail.post(func() (more bool) {
		p.shards[0].killOf(a)
		close(ordered)
		for end := time.Now().Add(20 * time.Second); !p.shards[0].mail.urgent.Load() && time.Now().Before(end); {
			time.Sleep(time.Millisecond) // until SetMaster has written
		}
		return false
	})
	<-ordered
	cut := p.SetMaster("a", elsewhere)
	if got := p.Active(); got != 0 {
		t.Errorf("connections when SetMaster returned: got %d; want none", got)
	}
	if got := p.Snapshot().Labels[0]; cut.Dropped != int(got.Closed[Failover]) || got.Closed[Failover]+got.Closed[Killed] != got.Accepted {
		t.Errorf("dropped %d; closed by failover %d, killed %d, of %d", cut.Dropped, got.Closed[Failover], got.Closed[Killed], got.Accepted)
	}
}

func TestKillReturnsWhenWhatAFailoverCutsIsClosed(t *testing.T) {
	p, a, _ := twoLabels(t)
	relayingOn(t, p, a, cutsPerIteration)
	onShard(p, 0, func(s *shard) {
		a.current.Store(newEpoch(9, elsewhere))
		s.failOver(a, func(*cutJob) {})
	})
	if n, err := p.Kill("a"); n != 0 || err != nil {
		t.Errorf("killed: got %d, %v; want none, all were the failover's", n, err)
	}
	if got := p.Active(); got != 0 {
		t.Errorf("connections when Kill returned: got %d; want none", got)
	}
}

func TestAFailoverGoesBeforeAKillOfAnotherLabel(t *testing.T) {
	p, a, b := twoLabels(t)
	relayingOn(t, p, a, 2*cutSlice)
	relayingOn(t, p, b, 3)
	onShard(p, 0, func(s *shard) {
		kill := s.killOf(a)
		s.workOnCuts(1)
		begun := kill.next
		b.current.Store(newEpoch(9, elsewhere))
		done := false
		s.failOver(b, func(*cutJob) { done = true })
		for i := 0; !done && i < 6; i++ { // two sockets each
			s.workOnCuts(1)
		}
		if !done || kill.next != begun {
			t.Errorf("three connections of b cut: got %v, with the kill of a at %d; want true, with it at %d", done, kill.next, begun)
		}
	})
}

func TestFailoversOfTwoLabelsAreCutInRotation(t *testing.T) {
	p, a, b := twoLabels(t)
	relayingOn(t, p, a, 3*cutSlice)
	relayingOn(t, p, b, 3)
	onShard(p, 0, func(s *shard) {
		var order []string
		for _, lb := range p.labels {
			lb.current.Store(newEpoch(9, elsewhere))
		}
		s.failOver(a, func(*cutJob) { order = append(order, "a") })
		s.failOver(b, func(*cutJob) { order = append(order, "b") })
		for i := 0; len(order) < 2 && i < 20; i++ {
			s.workOnCuts(cutSlice)
		}
		if len(order) != 2 || order[0] != "b" {
			t.Errorf("order in which the cuts of a (large) and b (small) ended: got %q; want b first", order)
		}
	})
}

// TestAKillIsGatheredInPieces, of all connections.
func TestAKillIsGatheredInPieces(t *testing.T) {
	p, s := stopped(t, Config{}, nopLog)
	const conns = slotsPerPiece + slabChunk
	for range conns {
		c := s.conns.take(s.loop)
		c.label, c.state = p.labels[0], relaying
		s.slots.used.Add(1)
	}
	j := &cutJob{reason: Killed, done: func(*cutJob) {}}
	pieces, gather := 1, s.gather(j, func(*conn) bool { return true })
	for ; gather(); pieces++ {
	}
	if len(j.victims) != conns || pieces != 2 {
		t.Errorf("victims, pieces: got %d, %d; want %d, 2", len(j.victims), pieces, conns)
	}
}

// What is urgent is read before each close, each deadline, each connection that
// goes on, each piece of a task: never after a whole pass of them.
func TestUrgentMailIsReadWithinEachPass(t *testing.T) {
	p, a, _ := twoLabels(t)
	const conns = 4
	relayingOn(t, p, a, conns)
	for _, pass := range []struct {
		over string
		run  func(s *shard, read func() bool) bool
	}{
		{"deadlines", func(s *shard, read func() bool) bool {
			s.conns.all(func(c *conn) { s.timers.arm(c.index, s.now) })
			s.expire()
			return read()
		}},
		{"ready connections", func(s *shard, read func() bool) bool {
			s.conns.all(func(c *conn) { c.enqueue(s.loop) })
			s.runReady()
			return read()
		}},
		{"tasks", func(s *shard, read func() bool) bool {
			seen := false
			s.tasks.add(work{task: func() bool { seen = read(); return false }})
			s.runTasks()
			return seen
		}},
		{"closes", func(s *shard, read func() bool) bool {
			kill, at := s.killOf(a), -1
			s.mail.urge(func() { at = kill.next })
			s.workOnCuts(1)
			return at == 0 // before the first close
		}},
	} {
		onShard(p, 0, func(s *shard) {
			read := false
			s.mail.urge(func() { read = true })
			if !pass.run(s, func() bool { return read }) {
				t.Errorf("%s: the urgent message was not read within the pass", pass.over)
			}
		})
	}
}

// /status said "no master" for as long as a cut took.
// TestWhatACutWithholdsFromTheClient, who then gets no FIN.
func TestWhatACutWithholdsFromTheClient(t *testing.T) {
	for name, c := range map[string]struct {
		of   func(*shard, *conn)
		want bool
	}{
		"nothing":                       {func(*shard, *conn) {}, false},
		"bytes that it has not taken":   {func(s *shard, c *conn) { c.flows[down].rest = s.leftovers.keep([]byte("x")) }, true},
		"what a reset has cut":          {func(_ *shard, c *conn) { c.flows[down].cutShort = true }, true},
		"the answer to all that it had": {func(_ *shard, c *conn) { c.flows[up].eof = true }, true},
		"nothing when both have ended":  {func(_ *shard, c *conn) { c.flows[up].eof, c.flows[down].eof = true, true }, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, s := stopped(t, Config{}, nopLog)
			conn, _ := s.adopt(t, relaying)
			c.of(s, conn)
			if got := conn.withholdsFromClient(); got != c.want {
				t.Errorf("got %t; want %t", got, c.want)
			}
		})
	}
}

func TestTheNewMasterIsKnownFromTheStoreOn(t *testing.T) {
	p, a, _ := twoLabels(t)
	blocked, proceed := make(chan struct{}), make(chan struct{})
	p.shards[0].mail.post(func() (more bool) { close(blocked); <-proceed; return false })
	<-blocked
	cut := make(chan Cut)
	next := Master{Address: elsewhere.Address, ServiceID: "next"}
	go func() { cut <- p.SetMaster("a", next) }()
	eventually(t, "the new epoch", func() bool { return a.current.Load().number == 2 })
	if got := p.describeLabel(a, p.histories[a.index]).Master; got != next {
		t.Errorf("master during the cut: got %+v; want %+v", got, next)
	}
	close(proceed)
	<-cut
}

// Off its CPU between a look at the clock and the store, SetMaster promised a
// moment that came too early.
func TestACutsTimeIsReadAfterTheStore(t *testing.T) {
	p, a, _ := twoLabels(t)
	for i := range 1000 {
		before := a.current.Load()
		stored := make(chan time.Time) // no earlier than this
		watching := make(chan struct{})
		go func() {
			notYet := time.Now()
			close(watching)
			for now := notYet; a.current.Load() == before; now = time.Now() {
				notYet = now
			}
			stored <- notYet
		}()
		<-watching
		cut := p.SetMaster("a", Master{Address: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(1+i%2))})
		if notYet := <-stored; cut.At.Before(notYet) {
			t.Fatalf("cut at %v, but the epoch before was in force %v later", cut.At, notYet.Sub(cut.At))
		}
	}
}
