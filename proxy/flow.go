package proxy

import (
	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// How bytes move. By default a read goes into the shard's scratch buffer and
// out again at once; what the destination does not take is kept aside, and
// the source is not read until it is gone. A direction whose reads are large
// several times in a row is streaming: from then on its bytes go through a
// pipe by splice(2) and never enter the process, until reads get small again.
const (
	largeRead = 32 << 10
	// streamAfter large reads in a row a direction is streaming.
	streamAfter = 3
	// A splice below smallSplice costs as much as a copy; after smallInARow of
	// them the direction is copied again.
	smallSplice = 16 << 10
	smallInARow = 2
	// streamedReads below smallSplice after the last large one a direction that is
	// copied again still counts as a stream: what a fast reader empties comes in
	// small pieces.
	streamedReads = 255
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
			if !c.flush(l, d) {
				return
			}
			continue // the fence may have come in the meantime
		case f.eof:
			c.endDestination(l, d)
			return
		case f.cutShort || !src.readable || !dst.writable:
			return
		case budget <= 0:
			c.enqueue(l)
			return
		}
		var n int
		switch {
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
	if sd.told {
		return
	}
	sd.told = true
	if err := sock.SendFIN(int(sd.fd)); err != nil {
		c.sideBroken(l, which)
	}
}

// copyThrough reads once and sends what it read; what is not taken becomes the rest.
func (c *conn) copyThrough(l *loop, d int) int {
	f, src, dst := &c.flows[d], &c.sides[d], &c.sides[1-d]
	n, err := sock.Receive(int(src.fd), l.scratch)
	if err != nil {
		c.readFailed(l, d, err)
		return 0
	}
	if n == 0 {
		c.sourceEnded(l, d)
		return 0
	}
	c.count(l, d, n)
	c.noteRead(l, d, n)
	sent, err := sock.Send(int(dst.fd), l.scratch[:n])
	if err != nil && err != sock.ErrAgain {
		c.writeFailed(l, d, err)
		return n
	}
	if sent < n {
		dst.writable = false
		f.rest = l.leftovers.keep(l.scratch[sent:n])
	}
	return n
}

// peekThrough sends what it reads, but takes from the source only what the
// destination has taken: nothing is left to be kept. It costs a call more than
// copyThrough, which is little beside a large read.
func (c *conn) peekThrough(l *loop, d int) int {
	src, dst := &c.sides[d], &c.sides[1-d]
	n, err := sock.Peek(int(src.fd), l.scratch)
	if err != nil {
		c.readFailed(l, d, err)
		return 0
	}
	if n == 0 {
		c.sourceEnded(l, d)
		return 0
	}
	sent, err := sock.Send(int(dst.fd), l.scratch[:n])
	if err != nil && err != sock.ErrAgain {
		c.writeFailed(l, d, err)
		return 0
	}
	if sent > 0 {
		c.count(l, d, sent)
	}
	switch {
	case sock.Skip(int(src.fd), l.scratch[:sent]) < sent: // never to be sent twice
		c.flows[d].cutShort = true
		c.sideBroken(l, d)
	case sent < n:
		dst.writable = false
	default:
		c.noteRead(l, d, n)
	}
	return sent
}

// noteRead draws conclusions from a read of n bytes, all of which are off the source.
func (c *conn) noteRead(l *loop, d, n int) {
	f, src := &c.flows[d], &c.sides[d]
	// A short read has emptied the socket (epoll(7)), unless it stopped at the
	// mark of urgent data; after FIN or an error the end itself must still be read.
	if n < len(l.scratch) && !src.fin && !src.urgent && !src.broken {
		src.readable = false
	}
	switch was := c.streamed[d] > 0; {
	case was && n >= largeRead:
		c.streamed[d] = streamedReads
	case was && n < smallSplice:
		c.streamed[d]--
	}
	if n < largeRead {
		f.large = 0
	} else if f.large++; f.large >= streamAfter {
		f.streaming, f.large, f.small = true, 0, 0
	}
}

// spliceIn fills an empty pipe from the source; flush sends it on. Reading
// into an empty pipe only, EAGAIN always means that the socket is empty.
func (c *conn) spliceIn(l *loop, d int) int {
	f, src, dst := &c.flows[d], &c.sides[d], &c.sides[1-d]
	most := pipeSize
	if l.pipes.areScarce() {
		if most = sock.Room(int(dst.fd)); most < smallSplice {
			return c.peekThrough(l, d)
		}
	}
	p := l.pipes.take(l.now)
	if p == nil {
		c.counters(l).pipeFallbacks++
		c.stopStreaming(d)
		return 0
	}
	n, err := sock.Splice(int(src.fd), p.w, min(p.size, most))
	if n == 0 {
		l.pipes.give(p)
		if err != nil {
			c.readFailed(l, d, err)
			return 0
		}
		// The end of the stream, or the mark of urgent data that epoll has not
		// told of yet: recv knows.
		return c.peekThrough(l, d)
	}
	p.held = n
	f.rest = &p.rest
	count := c.counters(l)
	count.pipes++
	count.spliced += uint64(n)
	c.count(l, d, n)
	if n >= smallSplice {
		f.small = 0
	} else if f.small++; f.small >= smallInARow {
		c.stopStreaming(d)
	}
	return n
}

// stopStreaming has direction d copied again.
func (c *conn) stopStreaming(d int) { c.flows[d].streaming, c.streamed[d] = false, streamedReads }

// flush sends what is on its way, in one call, and reports whether the
// destination would take another.
func (c *conn) flush(l *loop, d int) (more bool) {
	f, dst := &c.flows[d], &c.sides[1-d]
	if !dst.writable {
		return false
	}
	if p := f.rest.pipe; p != nil {
		n, err := sock.Splice(p.r, int(dst.fd), p.held)
		switch {
		case err == sock.ErrAgain:
			dst.writable = false
			return false
		case err != nil || n == 0:
			c.writeFailed(l, d, err)
			return false
		}
		if p.held -= n; p.held == 0 {
			c.emptyFlow(l, d)
		}
		return true
	}
	n, err := sock.Send(int(dst.fd), f.rest.unsent())
	if err != nil && err != sock.ErrAgain {
		c.writeFailed(l, d, err)
		return false
	}
	f.rest.off += n
	if len(f.rest.unsent()) > 0 {
		dst.writable = false
		return false
	}
	c.emptyFlow(l, d)
	return true
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
