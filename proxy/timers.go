package proxy

import "container/heap"

// timers orders slots by the one deadline each may have, in nanoseconds of the clock.
type timers struct {
	heap  deadlineHeap
	place []int32 // of each slot in the heap, or unarmed
}

type deadline struct {
	at   int64
	slot uint32
}

const unarmed = -1

// arm sets slot's deadline, whether or not it has one.
func (t *timers) arm(slot uint32, at int64) {
	for len(t.place) <= int(slot) {
		t.place = append(t.place, unarmed)
	}
	t.heap.place = t.place
	i := t.place[slot]
	if i == unarmed {
		// Appended by hand: heap.Push would box the element.
		i = int32(len(t.heap.byTime))
		t.heap.byTime = append(t.heap.byTime, deadline{slot: slot})
		t.place[slot] = i
	}
	t.heap.byTime[i].at = at
	heap.Fix(&t.heap, int(i))
}

// disarm takes slot's deadline away, if it has one.
func (t *timers) disarm(slot uint32) {
	if int(slot) >= len(t.place) || t.place[slot] == unarmed {
		return
	}
	i, last := int(t.place[slot]), len(t.heap.byTime)-1
	t.heap.Swap(i, last)
	t.heap.byTime = t.heap.byTime[:last]
	t.place[slot] = unarmed
	if i < last {
		heap.Fix(&t.heap, i)
	}
}

// deadlineOf is slot's deadline.
func (t *timers) deadlineOf(slot uint32) (at int64, armed bool) {
	if int(slot) >= len(t.place) || t.place[slot] == unarmed {
		return 0, false
	}
	return t.heap.byTime[t.place[slot]].at, true
}

// next is the earliest deadline.
func (t *timers) next() (at int64, some bool) {
	if len(t.heap.byTime) == 0 {
		return 0, false
	}
	return t.heap.byTime[0].at, true
}

// due takes a slot out whose deadline has passed.
func (t *timers) due(now int64) (slot uint32, some bool) {
	if at, some := t.next(); !some || at > now {
		return 0, false
	}
	slot = t.heap.byTime[0].slot
	t.disarm(slot)
	return slot, true
}

type deadlineHeap struct {
	byTime []deadline
	place  []int32
}

func (h *deadlineHeap) Len() int           { return len(h.byTime) }
func (h *deadlineHeap) Less(i, j int) bool { return h.byTime[i].at < h.byTime[j].at }
func (h *deadlineHeap) Swap(i, j int) {
	h.byTime[i], h.byTime[j] = h.byTime[j], h.byTime[i]
	h.place[h.byTime[i].slot], h.place[h.byTime[j].slot] = int32(i), int32(j)
}
func (h *deadlineHeap) Push(any) { panic("proxy: a deadline is added by timers.arm") }
func (h *deadlineHeap) Pop() any { panic("proxy: a deadline is removed by timers.disarm") }
