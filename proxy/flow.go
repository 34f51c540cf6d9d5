package proxy

import (
	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// What one direction of a connection does next, and how it ends. How its bytes
// are carried is in transfer.go.
const (
	// quantum bytes a direction may move in its turn, before the others have theirs.
	quantum = 1 << 20
	// quantumOnEvent is how many at once, out of turn.
	quantumOnEvent = scratchSize
)

// flow is one direction of a connection. It is over when it is done, when its
// destination is in error, or when its source is and all it sent is handed on.
type flow struct {
	bytes     uint64
	rest      *leftover // read, but not yet taken by the destination; nil: nothing
	large     uint8     // reads in a row that were large
	small     uint8     // splices in a row that were small
	streaming bool
	eof       bool // the source has ended in order
	done      bool // and the destination has been told, or will be by the close
	cutShort  bool // the source has ended by an error: nothing more can be read
	refused   bool // the destination is in error: nothing is read for it

	errorTaken bool // a call has taken the error off the source's socket: a read says 0, as at the end
}

// isOver reports whether nothing is left to do for f but to wait for the
// acknowledgement of what the kernel has of it.
func (f *flow) isOver() bool { return f.done || f.refused || f.cutShort && !f.holds() }

// hasEnded reports whether one end of f is closed.
func (f *flow) hasEnded() bool { return f.eof || f.cutShort || f.refused }

// holds reports whether bytes of f are in our hands.
func (f *flow) holds() bool { return f.rest != nil }

// held is how many.
func (f *flow) held() int {
	switch {
	case f.rest == nil:
		return 0
	case f.rest.pipe != nil:
		return f.rest.pipe.held
	default:
		return len(f.rest.unsent())
	}
}

// move carries bytes in direction d until a side has to be waited for, the
// quantum is spent, the flow is over, or the epoch is.
func (c *conn) move(l *loop, d, quantum int) {
	f, src, dst := &c.flows[d], &c.sides[d], &c.sides[1-d]
	for budget := quantum; !c.fenced(l) && !f.done && !f.refused; {
		switch {
		case f.holds():
			if !dst.writable {
				return
			}
		case f.eof:
			c.endDestination(l, d)
			return
		case f.cutShort || !src.readable || !dst.writable:
			return
		case budget <= 0:
			c.enqueue(l)
			return
		}
		if l.beforeTransfer(); c.fenced(l) {
			return
		}
		n := 0
		switch {
		case f.holds():
			if !c.flush(l, d) {
				return
			}
		case f.streaming && !src.urgent: // splice stops at the mark for good, recv goes past it
			n = c.spliceIn(l, d)
		case f.large > 0 || !l.leftovers.hasRoom():
			n = c.peekThrough(l, d)
		default:
			n = c.copyThrough(l, d)
		}
		budget -= n
	}
}

// endDestination forwards the end of the stream: everything before it has been
// handed on. When the other direction is over too, the close that follows says it.
func (c *conn) endDestination(l *loop, d int) {
	c.flows[d].done = true
	if !c.flows[1-d].isOver() {
		c.sendFIN(l, 1-d)
	}
}

// sendFIN tells one side that the stream to it has ended.
func (c *conn) sendFIN(l *loop, which int) {
	sd := &c.sides[which]
	if sd.sentFIN {
		return
	}
	sd.sentFIN = true
	if err := sock.SendFIN(int(sd.fd)); err != nil {
		c.sideBroken(l, which)
	}
}

// emptyFlow drops what is on its way in direction d, if there is anything.
func (c *conn) emptyFlow(l *loop, d int) {
	rest := c.flows[d].rest
	switch {
	case rest == nil:
		return
	case rest.pipe != nil:
		l.pipes.give(rest.pipe)
		c.counters(l).pipes--
	default:
		l.leftovers.give(rest)
	}
	c.flows[d].rest = nil
}

// sourceEnded notes that a read has found the end of the stream in direction d.
// It counts as a sign of life: the half-close timeout begins here.
func (c *conn) sourceEnded(l *loop, d int) {
	f := &c.flows[d]
	c.lastActive = l.now
	if f.errorTaken { // a reset looks like the end from then on
		f.cutShort = true
		return
	}
	f.eof = true
	if d == down && !c.flows[up].eof {
		c.masterEnds = true
	}
}

func (c *conn) count(l *loop, d, n int) {
	c.flows[d].bytes += uint64(n)
	c.counters(l).bytes[d] += uint64(n)
	c.lastActive = l.now
	c.sentLast = int8(d) // direction d reads from side d
}
