package proxy

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// heldClients makes n held clients, in slots and an order that have nothing to do
// with how long they have waited; they are returned the oldest first.
func (s *shard) heldClients(t *testing.T, n int, youngest time.Duration) []*conn {
	t.Helper()
	var out []*conn
	for range n {
		c, _ := s.adopt(t, arrived)
		out = append(out, c)
	}
	now := s.clock.now()
	rand.Shuffle(n, func(i, j int) { out[i], out[j] = out[j], out[i] })
	for i, c := range out {
		c.waitingSince = now - int64(youngest) - int64(n-i)*ms
		c.hold(s.loop, c.holdDeadline(s.loop), NoMaster)
	}
	return out
}

// dialledInOrder checks that the clients have been dialled one after the other.
func dialledInOrder(t *testing.T, clients []*conn) {
	t.Helper()
	for i, c := range clients {
		if c.dialled == 0 {
			t.Fatalf("client %d of %d: got no dial; want one", i, len(clients))
		}
		if i > 0 && c.dialled < clients[i-1].dialled {
			t.Fatalf("client %d was dialled before client %d, which had waited longer", i, i-1)
		}
	}
}

func countDialled(clients []*conn) (n int) {
	for _, c := range clients {
		if c.dialled > 0 {
			n++
		}
	}
	return n
}

// withMaster is a stopped proxy whose label has one.
func withMaster(t *testing.T, c Config) (*Proxy, *shard) {
	t.Helper()
	c.HoldTimeout = time.Hour
	p, s := stopped(t, c, nopLog)
	p.labels[0].current.Store(newEpoch(1, Master{Address: netip.MustParseAddrPort(echo(t))}))
	return p, s
}

// TestHeldClientsAreReleasedOldestFirst: and no more in one iteration than others
// can wait for.
func TestHeldClientsAreReleasedOldestFirst(t *testing.T) {
	_, s := withMaster(t, Config{})
	clients := s.heldClients(t, releasesPerIteration+50, 0)
	s.resume(s.labels[0])
	s.release()
	if got := countDialled(clients); got != releasesPerIteration {
		t.Errorf("dialled in one iteration: got %d; want %d", got, releasesPerIteration)
	}
	if wait := s.pollTimeout(); wait > 0 {
		t.Errorf("with clients to release: got a wait of %v; want none", wait)
	}
	s.release()
	dialledInOrder(t, clients)
	if wait := s.pollTimeout(); wait == 0 {
		t.Error("with none left to release: got no wait; want one")
	}
}

func TestLoopSleepsUntilTheNextMayGo(t *testing.T) {
	_, s := withMaster(t, Config{ReleaseRate: 10})
	clients := s.heldClients(t, 3, 0)
	s.resume(s.labels[0])
	s.release()
	if got := countDialled(clients); got != 1 {
		t.Errorf("dialled: got %d; want 1", got)
	}
	if wait := s.pollTimeout(); wait > 100*time.Millisecond {
		t.Errorf("at 10 a second: got a wait of %v; want at most 100ms", wait)
	}
}

func TestNewcomerGoesBehindThoseThatWait(t *testing.T) {
	_, s := withMaster(t, Config{})
	clients := s.heldClients(t, releasesPerIteration+1, 0)
	s.resume(s.labels[0])
	s.release()
	newcomer, _ := s.adopt(t, arrived)
	newcomer.dialInOrder(s.loop)
	if newcomer.dialled != 0 {
		t.Error("newcomer: got dialled; want it behind the one that waits")
	}
	s.release()
	dialledInOrder(t, append(clients, newcomer))
	next, _ := s.adopt(t, arrived)
	if next.dialInOrder(s.loop); next.dialled == 0 {
		t.Error("newcomer when nobody waits: got no dial; want it dialled at once")
	}
}

// TestClientWhoseBackoffIsOverGoesBehindThoseThatHaveWaitedLonger.
func TestClientWhoseBackoffIsOverGoesBehindThoseThatHaveWaitedLonger(t *testing.T) {
	_, s := withMaster(t, Config{})
	young, _ := s.adopt(t, held)
	s.heldClients(t, 1, 0)[0].queueRelease(s.loop)
	s.timers.arm(young.index, s.now)
	if s.expire(); young.dialled != 0 {
		t.Error("got dialled; want it behind the one that has waited longer")
	}
	if s.release(); young.dialled == 0 {
		t.Error("got no dial; want one")
	}
}

// TestDialThatIsTakenBackTakesItsTurn: a failover carries it over among the held.
func TestDialThatIsTakenBackTakesItsTurn(t *testing.T) {
	p, s := withMaster(t, Config{})
	clients := s.heldClients(t, 3, 0)
	middle := clients[1]
	middle.stopWaiting(s.loop)
	middle.dial(s.loop)
	p.labels[0].current.Store(newEpoch(2, Master{Address: netip.MustParseAddrPort(echo(t))}))
	s.failOver(p.labels[0], func(*cutJob) {})
	s.resume(p.labels[0])
	s.workOnCuts(cutsPerIteration)
	middle.dialled = 0
	s.release()
	dialledInOrder(t, clients)
}

// TestClientThatIsCutOrGoneHasNoTurn: and its slot may have another tenant by then.
func TestClientThatIsCutOrGoneHasNoTurn(t *testing.T) {
	_, s := withMaster(t, Config{})
	clients := s.heldClients(t, 20, 0)
	s.resume(s.labels[0])
	j := &cutJob{reason: Killed, done: func(*cutJob) {}}
	for i, c := range clients {
		switch i % 4 {
		case 1:
			c.finish(s.loop, ClientReset, byRST)
		case 2:
			j.add(c)
		}
	}
	s.release()
	var left []*conn
	for i, c := range clients {
		if i%4 == 1 || i%4 == 2 {
			if c.dialled != 0 || c.queuePlace != 0 {
				t.Errorf("client %d in state %v: got dialled at %d, place %d; want neither", i, c.state, c.dialled, c.queuePlace)
			}
			continue
		}
		left = append(left, c)
	}
	dialledInOrder(t, left)
	s.start(j)
	s.workOnCuts(cutsPerIteration)
}

// moreLabels gives n labels to the only shard, with the master of the first.
func moreLabels(p *Proxy, n int) (out []*label) {
	s := p.shards[0]
	for i := range n {
		lb := newLabel(1+i, Listener{Label: "other"}, p.labels[0].settings)
		lb.current.Store(p.labels[0].current.Load())
		s.releases, s.counters = append(s.releases, releaseQueue{}), append(s.counters, counters{dial: newHistogram(dialBounds)})
		out = append(out, lb)
	}
	return out
}

// queues has n clients of lb wait in the queue.
func (s *shard) queues(t *testing.T, lb *label, n int) (clients []*conn) {
	t.Helper()
	for range n {
		c, _ := s.adopt(t, arrived)
		s.counters[0].active--
		c.label = lb
		c.counters(s.loop).active++
		c.queueRelease(s.loop)
		clients = append(clients, c)
	}
	return clients
}

// TestReleasesOfLabelsTakeTurns: who waits for one label does not wait for all
// of another's.
func TestReleasesOfLabelsTakeTurns(t *testing.T) {
	p, s := withMaster(t, Config{})
	other := moreLabels(p, 1)[0]
	s.queues(t, p.labels[0], 2*releasesPerIteration)
	c := s.queues(t, other, 1)[0]
	if s.release(); c.dialled == 0 {
		t.Error("the other label's client: got no dial in the first iteration; want one")
	}
}

// TestLoopGoesOnWithTheLabelsThatOneIterationHadNoTimeFor.
func TestLoopGoesOnWithTheLabelsThatOneIterationHadNoTimeFor(t *testing.T) {
	const full = releasesPerIteration / releaseSlice
	p, s := withMaster(t, Config{})
	labels := moreLabels(p, full+1)
	var last []*conn
	for _, lb := range labels {
		last = s.queues(t, lb, releaseSlice)
	}
	s.release()
	if got := countDialled(last); got != 0 {
		t.Fatalf("clients of the last label: got %d dialled in the first iteration; want none", got)
	}
	if wait := s.pollTimeout(); wait > 0 {
		t.Errorf("with a label to look at: got a wait of %v; want none", wait)
	}
	s.release()
	dialledInOrder(t, last)
}

// TestClientThatIsToBeReleasedAtAPaceIsHeld: wherever it comes from, it is counted,
// its time is up at the hold timeout, and it is noticed when it leaves.
func TestClientThatIsToBeReleasedAtAPaceIsHeld(t *testing.T) {
	_, s := withMaster(t, Config{ReleaseRate: 1, HoldMax: 2})
	carried, _ := s.adopt(t, arrived)
	s.timers.arm(carried.index, s.now+1) // the connect timeout of the dial that was taken back
	again, _ := s.adopt(t, arrived)
	again.hold(s.loop, s.now+1, ConnectFailed) // the backoff
	for name, c := range map[string]*conn{"carried": carried, "again": again} {
		c.queueRelease(s.loop)
		at, armed := s.timers.deadlineOf(c.index)
		if c.state != held || !c.inWaitingRoom || !armed || at != c.holdDeadline(s.loop) {
			t.Errorf("%s: got state %v, in the waiting room %t, deadline %d; want it held until %d", name, c.state, c.inWaitingRoom, at, c.holdDeadline(s.loop))
		}
	}
	late, _ := s.adopt(t, arrived)
	late.queueRelease(s.loop) // the room is full
	if at, armed := s.timers.deadlineOf(late.index); late.state != held || late.inWaitingRoom || !armed || at != late.holdDeadline(s.loop) {
		t.Errorf("carried when the room is full: got state %v, in the waiting room %t; want it held without a place", late.state, late.inWaitingRoom)
	}
	gone, _ := s.adopt(t, arrived)
	gone.sides[client].broken = true
	gone.queueRelease(s.loop)
	if got := s.counters[0].closed[ClientReset]; got != 1 {
		t.Errorf("clients that have left: got %d; want 1", got)
	}
}

// TestClientsOfAllShardsAreReleasedAtAPaceOldestFirst: those of one shard have
// all waited longer than those of the other.
func TestClientsOfAllShardsAreReleasedAtAPaceOldestFirst(t *testing.T) {
	const each = 40
	p := served(t, Config{Shards: 2, ReleaseRate: 1000, HoldTimeout: testTimeout, Listeners: []Listener{{Label: "default", Address: "127.0.0.1:0"}}})
	var clients [2][]*conn
	for i, youngest := range []time.Duration{0, time.Second} {
		onShard(p, i, func(s *shard) { clients[i] = s.heldClients(t, each, youngest) })
	}
	p.SetMaster("default", Master{Address: netip.MustParseAddrPort(echo(t))})
	dialled := func(i int) (at []int64) {
		onShard(p, i, func(*shard) {
			for _, c := range clients[i] {
				at = append(at, c.dialled)
			}
		})
		return at
	}
	eventually(t, "all to be dialled", func() bool { return !slices.Contains(slices.Concat(dialled(0), dialled(1)), 0) })
	older, younger := dialled(1), dialled(0)
	if !slices.IsSorted(older) || !slices.IsSorted(younger) {
		t.Errorf("got dialled at %v and at %v; want each in order", older, younger)
	}
	if last := older[each-2]; last > younger[0] { // between its leave and its dial the last may be overtaken
		t.Errorf("of the older all but one were dialled until %d, the first of the younger at %d; want it later", last, younger[0])
	}
}

// TestNewcomerIsHeldBehindThoseThatAreReleasedAtAPace: also those of another shard.
func TestNewcomerIsHeldBehindThoseThatAreReleasedAtAPace(t *testing.T) {
	p := served(t, Config{Shards: 2, ReleaseRate: 1, HoldTimeout: testTimeout, Listeners: []Listener{{Label: "default", Address: "127.0.0.1:0"}}})
	onShard(p, 0, func(s *shard) { s.heldClients(t, 60, 0) })
	p.SetMaster("default", Master{Address: netip.MustParseAddrPort(echo(t))})
	onShard(p, 1, func(s *shard) {
		c, _ := s.adopt(t, arrived)
		c.dialInOrder(s.loop)
		if c.state != held || !c.inWaitingRoom || s.counters[0].held != 1 {
			t.Errorf("newcomer of the other shard: got state %v, in the waiting room %t; want it held", c.state, c.inWaitingRoom)
		}
	})
}

// TestClientsThatCannotGoTakeNoTurn: who waits for a master that is lost, or in
// doubt, when his turn comes does not delay those that go to the next.
func TestClientsThatCannotGoTakeNoTurn(t *testing.T) {
	for name, stop := range map[string]func(*shard){
		"lost":     func(s *shard) { s.labels[0].current.Load().suspended.Store(&loss{}) },
		"in doubt": (*shard).lapse,
	} {
		t.Run(name, func(t *testing.T) {
			_, s := withMaster(t, Config{ReleaseRate: 1})
			clients := s.heldClients(t, 3, 0)
			s.resume(s.labels[0])
			stop(s)
			s.release()
			if got := countDialled(clients); got != 0 {
				t.Fatalf("dialled: got %d; want none", got)
			}
			s.labels[0].current.Load().suspended.Store(nil)
			s.restore()
			s.resume(s.labels[0])
			s.release()
			if got := countDialled(clients); got != 1 {
				t.Errorf("dialled at once when the master is back: got %d; want 1", got)
			}
		})
	}
}

// TestShardIsCalledAsOftenAsItsFirstClientMayGo, and once for the calls that it has not read.
func TestShardIsCalledAsOftenAsItsFirstClientMayGo(t *testing.T) {
	_, s := withMaster(t, Config{ReleaseRate: 1})
	for range 2 {
		s.releaseAt = never
		s.releaseNow()
		s.releaseNow()
		if got := len(s.mail.tasks); got != 1 {
			t.Errorf("calls that wait: got %d; want 1", got)
		}
		if s.runTasks(); s.releaseAt == never {
			t.Error("a shard that was called does not look at its clients")
		}
	}
}
