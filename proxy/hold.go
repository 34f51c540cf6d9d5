package proxy

import (
	"container/heap"
	"time"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// A held client waits for a master that accepts it. Its bytes wait in the
// kernel; a failover does not drop it but carries it over.

// holdDeadline is when c has waited long enough. A slow header does not eat into it.
func (c *conn) holdDeadline(l *loop) int64 { return c.label.holdDeadline(c.waitingSince) }

// hold keeps c until the given time, when it is tried again or ended;
// why is the reason when it is ended at once.
//
// Its place in the waiting room it keeps while it is tried again: one that has
// waited long does not lose it to one that has just come.
func (c *conn) hold(l *loop, until int64, why Reason) {
	if l.clock.now() >= c.holdDeadline(l) {
		c.finish(l, why, byRST)
		return
	}
	if !c.startWaiting(l) {
		c.finish(l, HoldOverflow, byRST)
		return
	}
	c.state = held
	l.timers.arm(c.index, until)
	c.watchHeld(l)
}

// startWaiting takes a place in the waiting room for c, which may have one
// already, and reports whether it has.
func (c *conn) startWaiting(l *loop) bool {
	if !c.inWaitingRoom && l.waitingRoom.take(c.label) {
		c.inWaitingRoom = true
		c.counters(l).held++
	}
	return c.inWaitingRoom
}

// stopWaiting gives up c's place in the waiting room, if it has one.
func (c *conn) stopWaiting(l *loop) {
	if c.inWaitingRoom {
		c.inWaitingRoom = false
		c.counters(l).held--
		l.waitingRoom.give(c.label)
	}
}

// watchHeld ends a client that has left.
func (c *conn) watchHeld(l *loop) {
	switch cl := &c.sides[client]; {
	case cl.broken:
		c.finish(l, ClientReset, byRST)
	case cl.fin && sock.NothingButFIN(int(cl.fd)):
		c.finish(l, ClientClosed, byFIN)
	}
}

// holdTimedOut tries again to reach the master, or ends c when its time is up.
func (c *conn) holdTimedOut(l *loop) {
	if l.now < c.holdDeadline(l) {
		c.dialAgain(l)
		return
	}
	why := NoMaster
	if c.dials > 0 && c.label.takesClients() {
		why = ConnectFailed
	}
	c.finish(l, why, byRST)
}

// holdLeft is how much of the hold timeout c has from now on.
func (c *conn) holdLeft(l *loop, now int64) time.Duration {
	return time.Duration(c.holdDeadline(l) - now)
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
	if c.queuePlace == 0 {
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
	if c.queuePlace == 0 {
		return
	}
	t := &l.releases[c.label.index]
	heap.Remove(t, int(c.queuePlace-1))
	c.label.pace.remove(l.number, len(t.conns) == 0)
}
