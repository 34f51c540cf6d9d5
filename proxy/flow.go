package proxy

import (
	"errors"

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
	// quantum bytes a direction may move before the others have theirs.
	quantum = 1 << 20
)

// flow is one direction of a connection.
type flow struct {
	bytes     uint64
	rest      *leftover // read, but not yet taken by the destination
	pipe      *pipe     // held only while it has bytes in it
	large     uint8     // reads in a row that were large
	small     uint8     // splices in a row that were small
	streaming bool
	eof       bool // the source has ended
	done      bool // and the destination has been told
}

// errDestination says that a transfer failed on the side it went to.
var errDestination = errors.New("destination is in error")

// verdict is how far a direction got.
type verdict uint8

const (
	waiting      verdict = iota // for the source, the destination or its next quantum
	sourceBroken                // the source is in error
	destBroken                  // the destination is in error
)

// move carries bytes in direction d until a side has to be waited for, the
// budget is spent, or the epoch is over.
func (c *conn) move(l *loop, d int) verdict {
	f, src, dst := &c.flows[d], &c.sides[d], &c.sides[1-d]
	for budget := quantum; ; {
		if c.fenced(l) || f.done {
			return waiting
		}
		if f.rest != nil || f.pipe != nil {
			if v, more := c.flush(l, d); !more {
				return v
			}
			continue // the fence may have come in the meantime
		}
		if f.eof {
			// Forwarded only now: everything before it has been delivered. When
			// the other direction is done too, the close that follows says it.
			f.done = true
			if !c.flows[1-d].done && sock.SendFIN(int(dst.fd)) != nil {
				return destBroken
			}
			return waiting
		}
		if !src.readable || !dst.writable {
			return waiting
		}
		if budget <= 0 {
			c.enqueue(l)
			return waiting
		}
		var n int
		var err error
		if f.streaming && !src.urgent { // splice stops at the mark for good, recv goes past it
			n, err = c.spliceIn(l, d)
		} else {
			n, err = c.copyThrough(l, d)
		}
		switch {
		case err == sock.ErrAgain:
			src.readable = false
		case err == errDestination:
			return destBroken
		case err != nil:
			return sourceBroken
		}
		budget -= n
	}
}

// copyThrough reads once and sends what it read; what is not taken becomes the rest.
func (c *conn) copyThrough(l *loop, d int) (int, error) {
	f, src, dst := &c.flows[d], &c.sides[d], &c.sides[1-d]
	n, err := sock.Receive(int(src.fd), l.scratch)
	if err != nil {
		return 0, err
	}
	if n == 0 {
		c.sourceEnded(l, d)
		return 0, nil
	}
	c.count(l, d, n)
	// A short read has emptied the socket (epoll(7)), unless it stopped at the
	// mark of urgent data; after FIN the end itself must still be read.
	if n < len(l.scratch) && !src.fin && !src.urgent {
		src.readable = false
	}
	if n < largeRead {
		f.large = 0
	} else if f.large++; f.large >= streamAfter {
		f.streaming, f.large, f.small = true, 0, 0
	}
	sent, err := sock.Send(int(dst.fd), l.scratch[:n])
	if err != nil && err != sock.ErrAgain {
		return n, errDestination
	}
	if sent < n {
		dst.writable = false
		f.rest = l.leftovers.keep(l.scratch[sent:n])
	}
	return n, nil
}

// spliceIn fills an empty pipe from the source; flush sends it on. Reading
// into an empty pipe only, EAGAIN always means that the socket is empty.
func (c *conn) spliceIn(l *loop, d int) (int, error) {
	f, src := &c.flows[d], &c.sides[d]
	p := l.pipes.take(l.now)
	if p == nil {
		c.counters.pipeFallbacks++
		f.streaming = false
		return 0, nil
	}
	n, err := sock.Splice(int(src.fd), p.w, p.size)
	if n == 0 {
		l.pipes.give(p)
		if err == nil {
			c.sourceEnded(l, d)
		}
		return 0, err
	}
	p.held = n
	f.pipe = p
	c.counters.pipes++
	c.counters.spliced += uint64(n)
	c.count(l, d, n)
	if n < smallSplice {
		f.small++
		f.streaming = f.small < smallInARow
	} else {
		f.small = 0
	}
	return n, nil
}

// flush sends what is on its way, in one call; more tells whether the
// destination would take another.
func (c *conn) flush(l *loop, d int) (v verdict, more bool) {
	f, dst := &c.flows[d], &c.sides[1-d]
	if !dst.writable {
		return waiting, false
	}
	if f.rest != nil {
		n, err := sock.Send(int(dst.fd), f.rest.unsent())
		if err != nil && err != sock.ErrAgain {
			return destBroken, false
		}
		f.rest.off += n
		if len(f.rest.unsent()) > 0 {
			dst.writable = false
			return waiting, false
		}
		l.leftovers.give(f.rest)
		f.rest = nil
		return waiting, true
	}
	n, err := sock.Splice(f.pipe.r, int(dst.fd), f.pipe.held)
	switch {
	case err == sock.ErrAgain:
		dst.writable = false
		return waiting, false
	case err != nil || n == 0:
		return destBroken, false
	}
	f.pipe.held -= n
	if f.pipe.held == 0 {
		c.givePipe(l, d)
	}
	return waiting, true
}

func (c *conn) givePipe(l *loop, d int) {
	l.pipes.give(c.flows[d].pipe)
	c.flows[d].pipe = nil
	c.counters.pipes--
}

// emptyFlow drops what is on its way in direction d.
func (c *conn) emptyFlow(l *loop, d int) {
	f := &c.flows[d]
	if f.pipe != nil {
		c.givePipe(l, d)
	}
	if f.rest != nil {
		l.leftovers.give(f.rest)
		f.rest = nil
	}
}

// sourceEnded notes the end of the stream in direction d. It counts as a sign
// of life: the half-close timeout begins here.
func (c *conn) sourceEnded(l *loop, d int) {
	c.flows[d].eof = true
	c.lastActive = l.now
	if d == down && !c.flows[up].eof {
		c.masterEnds = true
	}
}

func (c *conn) count(l *loop, d, n int) {
	c.flows[d].bytes += uint64(n)
	c.counters.bytes[d] += uint64(n)
	c.lastActive = l.now
}
