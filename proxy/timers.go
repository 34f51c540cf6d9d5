package proxy

import "container/heap"

// timers orders slots by the one deadline each may have, in nanoseconds of the clock.
type timers struct {
	chunks []*timersChunk // of the slots 0 to slabChunk-1, and so on
	armed  int            // slots that have a deadline
}

// timersChunk is what is known of slabChunk slots, and as many places of the heap,
// with the earliest deadline at place 0 of all. Like a slab's chunk it never moves,
// and so costs no more than it holds.
type timersChunk struct {
	at    [slabChunk]int64  // the deadline
	place [slabChunk]int32  // in the heap, counted from 1; 0: unarmed
	heap  [slabChunk]uint32 // the slot that has the place
}

func (t *timers) at(slot uint32) *int64    { return &t.chunks[slot/slabChunk].at[slot%slabChunk] }
func (t *timers) place(slot uint32) *int32 { return &t.chunks[slot/slabChunk].place[slot%slabChunk] }

// slot is the one at that place of the heap, counted from 0.
func (t *timers) slot(place int) *uint32 {
	return &t.chunks[place/slabChunk].heap[place%slabChunk]
}

func (t *timers) isArmed(slot uint32) bool {
	return int(slot/slabChunk) < len(t.chunks) && *t.place(slot) != 0
}

// arm sets slot's deadline, whether or not it has one.
func (t *timers) arm(slot uint32, at int64) {
	for len(t.chunks) <= int(slot/slabChunk) {
		t.chunks = append(t.chunks, new(timersChunk))
	}
	place := t.place(slot)
	if *place == 0 {
		// By hand: heap.Push would box the element.
		*t.slot(t.armed) = slot
		t.armed++
		*place = int32(t.armed)
	}
	*t.at(slot) = at
	heap.Fix((*deadlineHeap)(t), int(*place)-1)
}

// disarm takes slot's deadline away, if it has one.
func (t *timers) disarm(slot uint32) {
	if !t.isArmed(slot) {
		return
	}
	h := (*deadlineHeap)(t)
	i, last := int(*t.place(slot))-1, t.armed-1
	h.Swap(i, last)
	t.armed = last
	*t.place(slot) = 0
	if i < last {
		heap.Fix(h, i)
	}
}

// deadlineOf is slot's deadline.
func (t *timers) deadlineOf(slot uint32) (at int64, armed bool) {
	if !t.isArmed(slot) {
		return 0, false
	}
	return *t.at(slot), true
}

// next is the earliest deadline.
func (t *timers) next() (at int64, some bool) {
	if t.armed == 0 {
		return 0, false
	}
	return *t.at(*t.slot(0)), true
}

// due takes a slot out whose deadline has passed.
func (t *timers) due(now int64) (slot uint32, some bool) {
	if at, some := t.next(); !some || at > now {
		return 0, false
	}
	slot = *t.slot(0)
	t.disarm(slot)
	return slot, true
}

// deadlineHeap is a timers as container/heap wants it.
type deadlineHeap timers

func (h *deadlineHeap) Len() int { return h.armed }
func (h *deadlineHeap) Less(i, j int) bool {
	t := (*timers)(h)
	return *t.at(*t.slot(i)) < *t.at(*t.slot(j))
}
func (h *deadlineHeap) Swap(i, j int) {
	t := (*timers)(h)
	a, b := t.slot(i), t.slot(j)
	*a, *b = *b, *a
	*t.place(*a), *t.place(*b) = int32(i+1), int32(j+1)
}
func (h *deadlineHeap) Push(any) { panic("proxy: a deadline is added by timers.arm") }
func (h *deadlineHeap) Pop() any { panic("proxy: a deadline is removed by timers.disarm") }
