package proxy

import (
	"container/heap"
	"math"
)

// Clients that wait for a master are released when there is one: who has waited
// longest goes first, and one that comes meanwhile goes behind them. Where there
// is a Config.ReleaseRate, the shards release them together at that rate.

const (
	// releasesPerIteration bounds how many clients one iteration of the loop
	// releases, and releaseSlice how many of one label before the next label's.
	releasesPerIteration = 256
	releaseSlice         = 32

	never = math.MaxInt64
)

// releaseQueue is a loop's clients of one label that may be dialled: a heap, with the
// one that has waited longest on top.
type releaseQueue struct {
	conns  []*conn // in slots of the slab, which do not move
	listed bool    // the label is one of those that the loop releases
}

func (t *releaseQueue) Len() int { return len(t.conns) }
func (t *releaseQueue) Less(i, j int) bool {
	a, b := t.conns[i], t.conns[j]
	return a.waiting < b.waiting || a.waiting == b.waiting && a.id < b.id
}
func (t *releaseQueue) Swap(i, j int) {
	t.conns[i], t.conns[j] = t.conns[j], t.conns[i]
	t.conns[i].place, t.conns[j].place = int32(i+1), int32(j+1)
}
func (t *releaseQueue) Push(c any) {
	t.conns = append(t.conns, c.(*conn))
	c.(*conn).place = int32(len(t.conns))
}
func (t *releaseQueue) Pop() any {
	last := len(t.conns) - 1
	c := t.conns[last]
	t.conns[last] = nil
	t.conns = t.conns[:last]
	c.place = 0
	return c
}

// oldest is since when the first waits.
func (t *releaseQueue) oldest() int64 {
	if len(t.conns) == 0 {
		return never
	}
	return t.conns[0].waiting
}

// dialInOrder sends a client that has just come to the master, or behind those that
// wait for it already.
func (c *conn) dialInOrder(l *loop) {
	switch {
	case len(l.releases[c.label.index].conns) == 0 && !c.label.pace.hasQueue():
		c.dial(l)
	case c.label.pace == nil: // it is dialled in a moment
		c.queueRelease(l)
	default:
		if c.hold(l, c.holdDeadline(l), NoMaster); c.state == held {
			c.queueRelease(l)
		}
	}
}

// dialAgain is for a client whose last dial failed, a while ago.
func (c *conn) dialAgain(l *loop) {
	if c.label.pace == nil && len(l.releases[c.label.index].conns) == 0 {
		c.dial(l)
		return
	}
	c.queueRelease(l)
}

// queueRelease has c released when all have been that have waited longer. At a
// pace that takes a while: c is held until then, also where the waiting room is
// full, since one that was being dialled when the master changed is not turned away.
func (c *conn) queueRelease(l *loop) {
	t := &l.releases[c.label.index]
	if c.place == 0 {
		heap.Push(t, c)
		c.label.pace.add()
	}
	if !t.listed {
		t.listed = true
		l.releasing = append(l.releasing, c.label)
		l.releaseAt = 0
	}
	if c.label.pace == nil {
		return
	}
	c.startWaiting(l)
	c.state = held
	l.timers.arm(c.index, c.holdDeadline(l))
	c.watchHeld(l)
}

// unqueueRelease takes c out of those that are to be released, if it is one.
func (c *conn) unqueueRelease(l *loop) {
	if c.place == 0 {
		return
	}
	t := &l.releases[c.label.index]
	heap.Remove(t, int(c.place-1))
	c.label.pace.remove(l.number, len(t.conns) == 0)
}

// release sends clients on their way that are first in their queues: some of one label, then
// some of the next. What is urgent is read before each.
func (s *shard) release() {
	if len(s.releasing) == 0 || s.releaseAt > s.now {
		return
	}
	s.releaseAt = never
	left, waiting := releasesPerIteration, 0 // labels in a row whose next client is to wait
	for left > 0 && waiting < len(s.releasing) {
		lb := s.releasing[0]
		s.releasing = s.releasing[1:]
		released, again := s.releaseFrom(lb, min(left, releaseSlice))
		left -= released
		if t := &s.releases[lb.index]; len(t.conns) == 0 {
			t.listed = false
			continue
		}
		s.releasing = append(s.releasing, lb)
		s.releaseAt = min(s.releaseAt, again)
		if waiting++; again == 0 {
			waiting = 0
		}
	}
	if left <= 0 { // there may be labels that were not looked at
		s.releaseAt = 0
	}
}

// releaseFrom releases at most so many clients of lb, and answers how many, and
// when the next may be.
func (s *shard) releaseFrom(lb *label, most int) (released int, again int64) {
	t := &s.releases[lb.index]
	for ; released < most; released++ {
		s.readUrgent()
		if len(t.conns) == 0 {
			return released, never
		}
		c := t.conns[0]
		if lb.pace != nil && lb.takesClients() && !lb.isUncertain(s.loop) {
			ok, at, before := lb.pace.allow(s.number, c.waiting, s.clock.now())
			if !ok {
				if before >= 0 {
					s.peers[before].releaseNow()
				}
				return released, at
			}
		}
		c.unqueueRelease(s.loop)
		if c.state == held || c.state == arrived { // and not cut meanwhile
			c.dial(s.loop)
		}
		s.lookAtClock()
	}
	return released, 0
}

// releaseNow has the shard look at once whether it may release a client.
func (s *shard) releaseNow() {
	if s.called.Swap(true) {
		return
	}
	s.mail.post(func() (more bool) {
		s.called.Store(false)
		s.releaseAt = 0
		return false
	})
}
