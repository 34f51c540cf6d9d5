package proxy

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestTimersComeDueInOrderAndNoneAfterDisarm(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var ts timers
	conns := make([]*conn, 500)
	for i := range conns {
		conns[i] = &conn{timer: unarmed}
		ts.arm(conns[i], r.Int64N(1000))
	}
	want := []int64{}
	for i, c := range conns {
		switch i % 3 {
		case 0:
			ts.disarm(c)
			ts.disarm(c) // again is no change
			continue
		case 1:
			ts.arm(c, r.Int64N(1000))
		}
		want = append(want, c.deadline)
	}
	slices.Sort(want)
	got := []int64{}
	if c := ts.due(-1); c != nil {
		t.Errorf("due before the first deadline: got one at %d; want none", c.deadline)
	}
	for c := ts.due(1000); c != nil; c = ts.due(1000) {
		got = append(got, c.deadline)
	}
	if !slices.Equal(got, want) {
		t.Errorf("deadlines came due as %v; want %v", got, want)
	}
}

func TestAnEventForAnEarlierTenantOfASlotIsStale(t *testing.T) {
	var s slab
	first := s.take()
	first.office = &office{}
	stale := first.ref()
	s.give(first)
	if s.get(stale) != nil {
		t.Error("a freed slot still answers to its ref")
	}
	second := s.take()
	second.office = &office{}
	if second.index != stale.index {
		t.Fatalf("the slot was not used again: got %d; want %d", second.index, stale.index)
	}
	if s.get(stale) != nil {
		t.Error("the new tenant answers to the ref of the old one")
	}
	if s.get(second.ref()) != second {
		t.Error("the new tenant does not answer to its own ref")
	}
	if s.get(ref{index: 1 << 20}) != nil {
		t.Error("a slot that was never made answers")
	}
}

func TestLeftoversKeepWhatTheyAreGivenInTheSmallestClassThatFits(t *testing.T) {
	var p leftovers
	for _, n := range []int{1, 4 << 10, 4<<10 + 1, 16 << 10, 16<<10 + 1, scratchSize} {
		b := bytes.Repeat([]byte{byte(n)}, n)
		l := p.keep(b)
		if !bytes.Equal(l.waiting(), b) {
			t.Errorf("%d bytes came back changed", n)
		}
		if i := slices.IndexFunc(leftoverClasses[:], func(size int) bool { return size >= n }); cap(l.data) != leftoverClasses[i] {
			t.Errorf("%d bytes are kept in %d; want %d", n, cap(l.data), leftoverClasses[i])
		}
		p.give(l)
		if again := p.keep(b[:1]); n <= 4<<10 && again != l {
			t.Errorf("a buffer for %d bytes was not used again", n)
		}
	}
}

func TestAPipeWithBytesInItIsClosedNeverReused(t *testing.T) {
	var budget pipeBudget
	budget.limit.Store(1)
	c := pipeCache{budget: &budget}
	first := c.take()
	if first == nil || first.size < smallestPipe {
		t.Fatalf("got pipe %+v; want one of at least %d bytes", first, smallestPipe)
	}
	if c.take() != nil {
		t.Error("got a second pipe; want the budget of one to be spent")
	}
	c.give(first)
	if again := c.take(); again != first {
		t.Error("an empty pipe was not used again")
	}
	first.held = 1
	c.give(first)
	if len(c.idle) != 0 || budget.open.Load() != 0 {
		t.Errorf("after a full pipe came back: %d idle, %d open; want none", len(c.idle), budget.open.Load())
	}
}

func TestCapacitySharesOutTheDescriptors(t *testing.T) {
	for _, c := range []struct {
		maxConns, descriptors, pages int
		want                         capacity
	}{
		{0, 20000, 0, capacity{9360, 512}},
		{100, 20000, 0, capacity{100, 512}},
		{0, 20000, 16384, capacity{9840, 32}},
		{0, 256, 0, capacity{84, 12}},
		{0, 8, 0, capacity{1, 2}},
		{0, 1 << 30, 0, capacity{536870272, 512}},
	} {
		if got := capacityFor(c.maxConns, c.descriptors, c.pages); got != c.want {
			t.Errorf("max-conns %d, %d descriptors, %d pages: got %+v; want %+v", c.maxConns, c.descriptors, c.pages, got, c.want)
		}
	}
}

func TestMailIsReadOnceInOrderAndRunsAtOnceWhileNoShardRuns(t *testing.T) {
	p, err := New(Config{Listeners: []Listener{{Label: "a", Address: "127.0.0.1:0"}}, Shards: 1}, nopLog)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	ran := false
	p.tell(func(*shard) { ran = true })
	if !ran {
		t.Error("a letter to a shard that does not run yet was not run at once")
	}
	m := &p.shards[0].mail
	if m.post(func() {}) {
		t.Error("post was taken by a shard that does not run")
	}
	m.start()
	var got []int
	for i := range 3 {
		if !m.post(func() { got = append(got, i) }) {
			t.Error("post was not taken by an open mailbox")
		}
	}
	if m.stop() {
		t.Error("the mailbox closed over unread letters")
	}
	p.shards[0].readMail()
	p.shards[0].readMail()
	if want := []int{0, 1, 2}; !slices.Equal(got, want) {
		t.Errorf("letters ran as %v; want %v", got, want)
	}
	if !m.stop() {
		t.Error("the empty mailbox did not close")
	}
}
