package proxy

import (
	"time"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// A held client waits for a master that accepts it. Its bytes wait in the
// kernel; a failover does not drop it but carries it over.

// holdDeadline is when c has waited long enough. A slow header does not eat into it.
func (c *conn) holdDeadline(l *loop) int64 { return c.label.holdDeadline(c.waiting) }

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
	if !c.waits && l.waiting.take(c.label) {
		c.waits = true
		c.counters(l).held++
	}
	return c.waits
}

// stopWaiting gives up c's place in the waiting room, if it has one.
func (c *conn) stopWaiting(l *loop) {
	if c.waits {
		c.waits = false
		c.counters(l).held--
		l.waiting.give(c.label)
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
