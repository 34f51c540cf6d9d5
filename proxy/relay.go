package proxy

import "time"

// relay moves what can be moved both ways, and ends c when it is over.
func (c *conn) relay(l *loop) {
	for d := range c.flows {
		switch c.move(l, d) {
		case sourceBroken:
			c.finish(l, brokenReason(c, d), byRST)
			return
		case destBroken:
			c.finish(l, brokenReason(c, 1-d), byRST)
			return
		}
	}
	if c.fenced(l) {
		return // the cut is on its way
	}
	for which := range c.sides {
		if c.sides[which].broken { // what it had sent before has been moved
			c.finish(l, brokenReason(c, which), byRST)
			return
		}
	}
	if c.flows[up].done && c.flows[down].done {
		c.finish(l, closedReason(c), byFIN)
		return
	}
	c.setTimeout(l)
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

func closedReason(c *conn) Reason {
	if c.masterEnds {
		return MasterClosed
	}
	return ClientClosed
}

// setTimeout sets the deadline that the timeouts ask for.
func (c *conn) setTimeout(l *loop) {
	wait := c.label.settings.IdleTimeout
	if half := l.config.HalfCloseTimeout; half > 0 && (c.flows[up].eof || c.flows[down].eof) && (wait == 0 || half < wait) {
		wait = half
	}
	if wait == 0 {
		return
	}
	// Later deadlines are found out when the earlier one is due: no work per byte.
	at := c.lastActive + int64(wait)
	if earlier, armed := l.timers.deadlineOf(c.index); !armed || at < earlier {
		l.timers.arm(c.index, at)
	}
}

// onTimeout does what is due on a relaying connection.
func (c *conn) onTimeout(l *loop) {
	if !c.lateOptions {
		c.setLateOptions(l)
	}
	silent := time.Duration(l.now - c.lastActive)
	half := l.config.HalfCloseTimeout
	switch idle := c.label.settings.IdleTimeout; {
	case c.fenced(l):
	case half > 0 && (c.flows[up].eof || c.flows[down].eof) && silent >= half:
		// Not by FIN: the open side would take it for the end of an answer.
		c.finish(l, HalfClose, byRST)
	case idle > 0 && silent >= idle:
		c.finish(l, Idle, byFIN)
	default:
		c.setTimeout(l)
	}
}
