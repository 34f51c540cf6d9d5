package proxy

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

func TestTimersComeDueInOrderAndNoneAfterDisarm(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var ts timers
	at := map[uint32]int64{}
	for slot := range uint32(500) {
		at[slot] = r.Int64N(1000)
		ts.arm(slot, at[slot])
	}
	want := []int64{}
	for slot := range uint32(500) {
		switch slot % 3 {
		case 0:
			ts.disarm(slot)
			ts.disarm(slot) // again is no change
			continue
		case 1:
			at[slot] = r.Int64N(1000)
			ts.arm(slot, at[slot])
		}
		if got, armed := ts.deadlineOf(slot); !armed || got != at[slot] {
			t.Errorf("deadline of slot %d: got %d, %v; want %d", slot, got, armed, at[slot])
		}
		want = append(want, at[slot])
	}
	slices.Sort(want)
	got := []int64{}
	if slot, some := ts.due(-1); some {
		t.Errorf("due before the first deadline: got slot %d; want none", slot)
	}
	for slot, some := ts.due(1000); some; slot, some = ts.due(1000) {
		got = append(got, at[slot])
		if _, armed := ts.deadlineOf(slot); armed {
			t.Errorf("slot %d came due and is armed still", slot)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("deadlines came due as %v; want %v", got, want)
	}
}

func TestAnEventForAnEarlierTenantOfASlotIsStale(t *testing.T) {
	var s slab
	l := &loop{shared: &shared{log: nopLog}, counters: make([]counters, 1)}
	first := s.take(l)
	first.label = &label{}
	stale := first.ref()
	first.finish(l, Killed, byRST)
	if s.get(stale) != nil {
		t.Error("a freed slot still answers to its ref")
	}
	second := s.take(l)
	second.label = &label{}
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

// TestIdleConnectionTakesLittle: what a shard keeps of one is its slots, of
// which a chunk fills pages of Go's heap without a rest, which would be lost.
func TestIdleConnectionTakesLittle(t *testing.T) {
	const page, most = 8 << 10, 208
	chunk := unsafe.Sizeof([slabChunk]conn{})
	if rest := chunk % page; rest != 0 {
		t.Errorf("a chunk of %d bytes leaves %d of its last page", chunk, page-rest)
	}
	perSlot := (chunk + unsafe.Sizeof(timersChunk{})) / slabChunk
	if perSlot > most {
		t.Errorf("a connection has %d bytes in slots; want %d at most", perSlot, most)
	}
}

func TestStampNamesATimeOfTheLastWeeks(t *testing.T) {
	const day = int64(24 * time.Hour)
	for _, at := range []int64{0, 1, int64(time.Millisecond), 12345678901234, 48 * day, 50 * day, 1000*day + 1} {
		for _, ago := range []int64{0, 1, int64(time.Millisecond), int64(time.Second) + 1, day, 49 * day} {
			if got := stampOf(at).asOf(at + ago); got < at || got-at >= int64(time.Millisecond) {
				t.Errorf("the stamp of %d, %v later: got %d; want less than a millisecond behind it", at, time.Duration(ago), got)
			}
		}
	}
}

// resident is how many bytes of memory, which begins a page, take any.
func resident(t *testing.T, memory []byte) int {
	t.Helper()
	page := os.Getpagesize()
	pages := make([]byte, (len(memory)+page-1)/page)
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&memory[0])), uintptr(len(memory)), uintptr(unsafe.Pointer(&pages[0]))); errno != 0 {
		t.Fatalf("mincore: %v", errno)
	}
	n := 0
	for _, p := range pages {
		n += int(p&1) * page
	}
	return n
}

func TestLeftoversTakeTheMemoryTheyNeedAndGiveItBack(t *testing.T) {
	p := newLeftovers(1)
	defer p.close()
	var all []*leftover
	for i := range mostLeftovers {
		n := []int{1, scratchSize/2 + 1, scratchSize}[i%3]
		b := bytes.Repeat([]byte{byte(i)}, n)
		l := p.keep(b)
		if !bytes.Equal(l.unsent(), b) {
			t.Fatalf("%d bytes came back changed", n)
		}
		if got, most := resident(t, l.place), n+os.Getpagesize(); got > most {
			t.Errorf("%d bytes take %d bytes of memory; want %d at most", n, got, most)
		}
		all = append(all, l)
	}
	if p.hasRoom() {
		t.Errorf("after %d there is room for more", mostLeftovers)
	}
	if more := p.keep([]byte("more")); string(more.unsent()) != "more" {
		t.Error("one more was not kept")
	} else {
		p.give(more)
	}
	for _, l := range all {
		p.give(l)
	}
	if got, most := resident(t, p.memory), warmLeftovers*scratchSize; got > most {
		t.Errorf("when none is in use they take %d bytes of memory; want %d at most", got, most)
	}
	last := p.warm[len(p.warm)-1]
	if again := p.keep([]byte("x")); again != last {
		t.Error("the place that has its memory was not used again")
	}
}

func TestLeftoversOfManyLoopsTogetherAreBounded(t *testing.T) {
	for loops := 1; loops <= 1024; loops *= 2 {
		p := newLeftovers(loops)
		if most := max(mostLeftovers, loops*fewestLeftovers); p.most*loops > most || p.most == 0 {
			t.Errorf("%d loops: got %d places each; want some, and %d at most together", loops, p.most, most)
		}
	}
}

func TestAPipeWithBytesInItIsClosedNeverReused(t *testing.T) {
	budget := pipeBudget{limit: 2, openPipe: sock.OpenPipe}
	c := newPipeCache(&budget, 1)
	defer c.close()
	first, second := c.take(0), c.take(0)
	if first == nil || first.size < smallestPipe {
		t.Fatalf("got pipe %+v; want one of at least %d bytes", first, smallestPipe)
	}
	if c.take(0) != nil {
		t.Error("got a third pipe; want the budget of two to be spent")
	}
	c.give(first)
	if again := c.take(0); again != first {
		t.Error("an empty pipe was not used again")
	}
	for _, p := range []*pipe{first, second} {
		p.held = 1
		c.give(p)
	}
	if len(c.idle) != 0 || budget.open.Load() != 0 {
		t.Errorf("after full pipes came back: %d idle, %d open; want none", len(c.idle), budget.open.Load())
	}
}

func TestPipesThatAreIdleLeaveHalfToWhoeverHasStreams(t *testing.T) {
	budget := pipeBudget{limit: 8, openPipe: sock.OpenPipe}
	shards := make([]pipeCache, 2)
	for i := range shards {
		shards[i] = newPipeCache(&budget, len(shards))
		defer shards[i].close()
	}
	for i := range shards {
		var all []*pipe
		for p := shards[i].take(0); p != nil; p = shards[i].take(0) {
			all = append(all, p)
		}
		if len(all) < int(budget.limit)/2 {
			t.Errorf("pipes for shard %d: got %d; want half of %d", i, len(all), budget.limit)
		}
		for _, p := range all {
			shards[i].give(p)
		}
	}
	if idle := budget.open.Load(); idle == 0 || idle > budget.limit/2 {
		t.Errorf("idle pipes of all shards: got %d; want some, and at most half of %d", idle, budget.limit)
	}
}

// TestTooSmallAPipeIsNotTakenAndAnotherNotAskedForAtOnce: it says that this user
// has all the pages that it may have, which costs system calls to be told.
func TestTooSmallAPipeIsNotTakenAndAnotherNotAskedForAtOnce(t *testing.T) {
	asked, size := 0, smallestPipe-1
	budget := pipeBudget{limit: 8, openPipe: func(want int) (r, w, got int, err error) {
		asked++
		r, w, _, err = sock.OpenPipe(want)
		return r, w, size, err
	}}
	c := newPipeCache(&budget, 1)
	defer c.close()
	for n := range int64(10) {
		if c.take(n*int64(smallPipePause)/10) != nil {
			t.Fatal("got a pipe that is too small")
		}
	}
	if asked != 1 || budget.open.Load() != 0 {
		t.Errorf("pipes asked for, open: got %d, %d; want 1, 0", asked, budget.open.Load())
	}
	size = smallestPipe
	p := c.take(2 * int64(smallPipePause))
	if p == nil {
		t.Fatal("got no pipe when there are some again")
	}
	c.give(p)
}

func TestCapacitySharesOutTheDescriptors(t *testing.T) {
	for _, c := range []struct {
		maxConns, reserved, descriptors, pages int
		want                                   capacity
	}{
		{0, 0, 20000, 0, capacity{9360, 512}},
		{100, 0, 20000, 0, capacity{100, 512}},
		{0, 0, 20000, 16384, capacity{9840, 32}},
		{0, 0, 256, 0, capacity{84, 12}},
		{0, 0, 8, 0, capacity{1, 2}},
		{0, 0, 1 << 30, 0, capacity{536870272, 512}},
		{0, 400, 20000, 0, capacity{9288, 512}},
		{0, 100, 256, 0, capacity{66, 12}},
		{0, 1000, 256, 0, capacity{52, 12}}, // half of them at most
	} {
		if got := capacityFor(c.maxConns, c.reserved, c.descriptors, c.pages); got != c.want {
			t.Errorf("max-conns %d, %d reserved of %d descriptors, %d pages: got %+v; want %+v", c.maxConns, c.reserved, c.descriptors, c.pages, got, c.want)
		}
	}
}

// TestMaxConnsLeavesWhatIsReserved: clients would take the descriptors of the admin
// side and of discovery, whatever the configuration asks for.
func TestMaxConnsLeavesWhatIsReserved(t *testing.T) {
	const reserved, most = 100, 1 << 30
	room, err := RoomFor(reserved)
	if err != nil {
		t.Fatal(err)
	}
	for r, want := range map[int]int{reserved: room.Conns, 0: most} {
		p, _ := stopped(t, Config{MaxConns: most, Reserved: r}, nopLog)
		if got := int(p.slots.max); got != want {
			t.Errorf("%d reserved: got %d connections at most; want %d", r, got, want)
		}
	}
}

// TestHandingAClientOverMakesNoGarbage: it would be a part of what each client costs.
func TestHandingAClientOverMakesNoGarbage(t *testing.T) {
	p, s := stopped(t, Config{}, nopLog)
	want := newClient{fd: 1, peer: netip.MustParseAddrPort("192.0.2.1:1"), label: p.labels[0]}
	if n := testing.AllocsPerRun(100, func() {
		s.mail.waiting.Store(true) // to wake the shard does, with the race detector
		if !s.mail.handOver(want) {
			t.Error("the mailbox is open and did not take it")
		}
		s.mail.takeTasks(&s.tasks)
		if s.tasks.take().client != want {
			t.Error("another came out than was handed over")
		}
	}); n > 0 {
		t.Errorf("allocations for each: got %v; want none", n)
	}
}

func TestMailIsReadOnceInOrderAndRunsAtOnceWhileNoShardRuns(t *testing.T) {
	p, err := New(Config{Listeners: []Listener{{Label: "a", Address: "127.0.0.1:0"}}, Shards: 1}, nopLog)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	s := p.shards[0]
	m := &s.mail
	ran := 0
	p.broadcast(func(*shard) { ran++ })
	m.urge(func() { ran++ })
	if ran != 2 {
		t.Errorf("to a shard that does not run yet: got %d of 2 run at once", ran)
	}
	if m.post(func() bool { return false }) {
		t.Error("post was taken by a shard that does not run")
	}
	m.start()
	var got []string
	note := func(what string) { got = append(got, what) }
	for i := range 2 {
		pieces := 2
		if !m.post(func() (more bool) {
			pieces--
			note(fmt.Sprint("task ", i))
			if i == 0 && pieces == 1 {
				m.urge(func() { note("urgent between the pieces") })
			}
			return pieces > 0
		}) {
			t.Error("post was not taken by an open mailbox")
		}
	}
	m.urge(func() { note("urgent") })
	for range 2 {
		s.readUrgent()
		s.runTasks()
	}
	want := []string{"urgent", "task 0", "urgent between the pieces", "task 1", "task 0", "task 1"}
	if !slices.Equal(got, want) {
		t.Errorf("ran: got %q; want %q", got, want)
	}
	if !m.stop() {
		t.Error("the empty mailbox did not close")
	}
	m.start()
	m.urge(func() {})
	if m.stop() {
		t.Error("the mailbox closed over an urgent message")
	}
	s.readUrgent()
	m.post(func() bool { return false })
	if m.stop() {
		t.Error("the mailbox closed over a task")
	}
	s.runTasks()
	if !m.stop() {
		t.Error("the mailbox did not close when all was read")
	}
}

// TestConnectionThatEndsGivesItsWatchBack: one that is cut has bytes on their way.
func TestConnectionThatEndsGivesItsWatchBack(t *testing.T) {
	_, s := stopped(t, Config{}, nopLog)
	for range 3 {
		c, _ := s.adopt(t, relaying)
		c.startWatch(s.loop)
		c.finish(s.loop, Killed, byRST)
	}
	if got := len(s.watches.all) - len(s.watches.free); got != 1 { // the one that stands for none
		t.Errorf("watches in use: got %d; want 1", got)
	}
}
