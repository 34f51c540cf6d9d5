package proxy

import (
	"math"
	"time"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// relayOnEvent has a message go on at once. What is more waits for its turn,
// and so does a connection that streams: events of others come before.
func (c *conn) relayOnEvent(l *loop) {
	switch {
	case c.queued: // it has its turn with all that there is by then
	case c.flows[up].streaming || c.flows[down].streaming:
		c.enqueue(l)
	default:
		c.relayUpTo(l, quantumOnEvent)
	}
}

// relay moves what can be moved both ways, and ends c when it is over.
func (c *conn) relay(l *loop) { c.relayUpTo(l, quantum) }

func (c *conn) relayUpTo(l *loop, quantum int) {
	began, before := l.now, c.lastActive
	for which := range c.sides {
		if c.sides[which].broken {
			c.sideBroken(l, which)
		}
	}
	for d := range c.flows {
		c.move(l, d, quantum)
	}
	c.noteBytes(l, began, before)
	if c.fenced(l) {
		return // the cut is on its way
	}
	if c.flows[up].isOver() && c.flows[down].isOver() && c.endWhenPaid(l) {
		return
	}
	c.setTimeout(l)
}

// endWhenPaid ends c, both of whose flows are over, when each peer has
// acknowledged what it is owed, and reports whether it has. Until then the
// sockets stay ours: a socket that is closed with bytes in its queue is beyond
// a failover's reach, and its kernel gives up on a peer that does not read.
func (c *conn) endWhenPaid(l *loop) (ended bool) {
	paid := true
	for which := range c.sides {
		sd := &c.sides[which]
		if sd.broken {
			continue // it takes nothing any more
		}
		if sock.Unacknowledged(int(sd.fd)) > 0 || c.flows[1-which].done && !sd.sentFIN && c.needsFINFirst(which) {
			paid = false
		}
	}
	switch {
	case !paid:
		c.tellEnds(l)
		return false
	case c.flows[up].cutShort || c.flows[down].cutShort:
		c.finish(l, c.endReason(), byRST)
	default:
		c.finish(l, c.endReason(), byFIN)
	}
	return true
}

// needsFINFirst reports whether the FIN to a side, which the close would say,
// must be acknowledged before the close. What the side may still send, and we
// do not read, would turn the close into a RST (RFC 2525, 2.17). And a socket
// whose window is probed more often than is usual the kernel gives up the sooner
// once it is closed, maybe before FIN has fitted into the window.
func (c *conn) needsFINFirst(which int) bool { return c.flows[which].refused || c.sides[which].probed }

// tellEnds sends FIN to the sides whose streams have ended in order: an event
// tells of its acknowledgement. Of that of the last byte of another stream
// nothing tells.
func (c *conn) tellEnds(l *loop) {
	for which := range c.sides {
		switch {
		case c.sides[which].broken:
		case c.flows[1-which].done:
			c.sendFIN(l, which)
		default:
			c.poll(l)
		}
	}
}

// readFailed takes note of an error of the source of direction d.
func (c *conn) readFailed(l *loop, d int, err error) {
	src := &c.sides[d]
	if err == sock.ErrAgain {
		src.readable = false
		if !src.dead {
			return
		}
	}
	c.flows[d].cutShort = true
	c.sideBroken(l, d)
}

// writeFailed takes note of an error of the destination of direction d. What
// it has sent may still be read. The call has taken the error off the socket,
// whose reads then end as at the end of a stream; only after EPIPE that is its
// end: the kernel says that of a reset behind FIN (tcp_reset in net/ipv4/tcp_input.c).
func (c *conn) writeFailed(l *loop, d int, err error) {
	c.flows[1-d].errorTaken = err != sock.ErrPipe
	c.sideBroken(l, 1-d)
}

// sideBroken stops what goes to a side whose socket is in error, or whose peer
// is dead. What has come from it is still delivered.
func (c *conn) sideBroken(l *loop, which int) {
	c.sides[which].broken = true
	f := &c.flows[1-which]
	if f.refused {
		return
	}
	if c.brokeFirst == noSide {
		c.brokeFirst = int8(which)
	}
	c.emptyFlow(l, 1-which)
	f.refused = true
}

// endReason is why c, which is over, has ended.
func (c *conn) endReason() Reason {
	switch {
	case c.brokeFirst != noSide:
		return brokenReason(c, int(c.brokeFirst))
	case c.masterEnds:
		return MasterClosed
	default:
		return ClientClosed
	}
}

// brokenReason blames the side whose socket is in error, unless it had closed
// in good order and only refuses what still came.
func brokenReason(c *conn, which int) Reason {
	closed := c.flows[which].eof
	switch {
	case which == client && closed:
		return ClientClosed
	case which == client:
		return ClientReset
	case closed:
		return MasterClosed
	default:
		return MasterReset
	}
}

// timeout is how long c may be without a byte in or out; 0: for ever.
func (c *conn) timeout(l *loop) time.Duration {
	wait := c.label.settings.IdleTimeout
	if half := l.config.HalfCloseTimeout; half > 0 && c.isHalfClosed() && (wait == 0 || half < wait) {
		wait = half
	}
	return wait
}

func (c *conn) isHalfClosed() bool { return c.flows[up].hasEnded() || c.flows[down].hasEnded() }

// setTimeout sets the deadline that the timeouts and the bytes on their way ask for.
func (c *conn) setTimeout(l *loop) {
	at := int64(math.MaxInt64)
	if wait := c.timeout(l); wait > 0 {
		at = c.lastActive + int64(wait)
	}
	if c.watch != noWatch && c.watch != watchPending {
		at = min(at, l.watches.all[c.watch].next)
	}
	if at != math.MaxInt64 {
		c.armBy(l, at)
	}
}

// armBy has c's timer fire by then. Later deadlines are found out when the
// earlier one is due: no work per byte.
func (c *conn) armBy(l *loop, at int64) {
	if earlier, armed := l.timers.deadlineOf(c.index); !armed || at < earlier {
		l.timers.arm(c.index, at)
	}
}

// onTimeout does what is due on a relaying connection.
func (c *conn) onTimeout(l *loop) {
	if !c.lateOptions {
		c.setLateOptions(l)
	}
	if c.fenced(l) {
		return
	}
	if c.watch != noWatch {
		if which := c.checkQueues(l); which != noSide {
			c.peerDied(l, which)
			return
		}
		if c.flows[up].isOver() && c.flows[down].isOver() && c.endWhenPaid(l) {
			return
		}
	}
	if silent := time.Duration(l.now - c.lastActive); c.timeout(l) > 0 && silent >= c.timeout(l) {
		c.timedOut(l, silent)
		return
	}
	c.setTimeout(l)
}

// timedOut ends c, of which nothing has gone in or out for too long.
func (c *conn) timedOut(l *loop, silent time.Duration) {
	half := l.config.HalfCloseTimeout
	switch {
	case c.brokeFirst != noSide:
		c.finish(l, c.endReason(), byRST)
	case half > 0 && c.isHalfClosed() && silent >= half:
		// Not by FIN: the open side would take it for the end of an answer.
		c.finish(l, HalfClose, byRST)
	case c.watch != noWatch || c.isHalfClosed() || c.awaitsAnswer(l):
		// Nor behind bytes that a peer has not taken: it would look like the end of them.
		c.finish(l, Idle, byRST)
	default:
		c.finish(l, Idle, byFIN)
	}
}

// peerDied goes on without the peer of one side, which answers nothing: what it
// has sent is still owed to the other.
func (c *conn) peerDied(l *loop, which int) {
	sd := &c.sides[which]
	sd.dead, sd.readable = true, true
	c.sideBroken(l, which)
	c.relay(l)
}
