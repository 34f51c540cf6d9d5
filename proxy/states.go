package proxy

import "github.com/rosproxy/rosproxy/proxy/internal/sock"

// What happens to a connection reaches its state from here: an event, its place
// in the ready queue, a deadline.

// onEvent notes what epoll says of one side of c, and goes on with c.
func (c *conn) onEvent(l *loop, which int, ready uint32) {
	sd := &c.sides[which]
	if ready&(sock.ReadyIn|sock.ReadyFIN|sock.ReadyHUP|sock.ReadyError|sock.ReadyUrgent) != 0 {
		sd.readable = true
	}
	if ready&(sock.ReadyOut|sock.ReadyHUP|sock.ReadyError) != 0 {
		sd.writable = true
	}
	sd.fin = sd.fin || ready&(sock.ReadyFIN|sock.ReadyHUP) != 0
	sd.urgent = sd.urgent || ready&sock.ReadyUrgent != 0
	sd.broken = sd.broken || ready&sock.ReadyError != 0

	switch c.state {
	case header:
		c.readHeader(l)
	case relaying:
		c.relayOnEvent(l)
	case dialing:
		if which == master {
			c.dialAnswered(l)
		} else if sd.broken {
			c.finish(l, ClientReset, byRST)
		}
	case held:
		c.watchHeld(l)
	case closing:
		c.watchClosing(l)
	}
}

// proceed is for a connection that was ready to go on without an event.
func (c *conn) proceed(l *loop) {
	if c.state == relaying {
		c.relay(l)
	}
}

// onDeadline does what is due when c's deadline has passed.
func (c *conn) onDeadline(l *loop) {
	switch c.state {
	case header:
		c.headerTimedOut(l)
	case held:
		c.holdTimedOut(l)
	case dialing:
		c.dialTimedOut(l)
	case relaying:
		c.onTimeout(l)
	case closing:
		c.finish(l, c.orderedEnd, byRST)
	}
}
