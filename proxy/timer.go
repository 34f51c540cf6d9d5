package proxy

import "container/heap"

// timers orders connections by the one deadline each may have.
type timers struct{ byDeadline deadlineHeap }

// arm sets c's deadline, in nanoseconds of the proxy's clock.
func (t *timers) arm(c *conn, deadline int64) {
	c.deadline = deadline
	if c.timer == unarmed {
		// Appended by hand: heap.Push would box the element.
		c.timer = int32(len(t.byDeadline))
		t.byDeadline = append(t.byDeadline, c)
	}
	heap.Fix(&t.byDeadline, int(c.timer))
}

// disarm takes c's deadline away, if it has one.
func (t *timers) disarm(c *conn) {
	if c.timer == unarmed {
		return
	}
	at, last := int(c.timer), len(t.byDeadline)-1
	t.byDeadline.Swap(at, last)
	t.byDeadline[last] = nil
	t.byDeadline = t.byDeadline[:last]
	if at < last {
		heap.Fix(&t.byDeadline, at)
	}
	c.timer = unarmed
}

// next is the earliest deadline.
func (t *timers) next() (deadline int64, ok bool) {
	if len(t.byDeadline) == 0 {
		return 0, false
	}
	return t.byDeadline[0].deadline, true
}

// due takes a connection out whose deadline has passed; nil when there is none.
func (t *timers) due(now int64) *conn {
	if deadline, ok := t.next(); !ok || deadline > now {
		return nil
	}
	c := t.byDeadline[0]
	t.disarm(c)
	return c
}

const unarmed = -1

type deadlineHeap []*conn

func (h deadlineHeap) Len() int           { return len(h) }
func (h deadlineHeap) Less(i, j int) bool { return h[i].deadline < h[j].deadline }
func (h deadlineHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].timer, h[j].timer = int32(i), int32(j)
}
func (h deadlineHeap) Push(any) { panic("proxy: a deadline is added by timers.arm") }
func (h deadlineHeap) Pop() any { panic("proxy: a deadline is removed by timers.disarm") }
