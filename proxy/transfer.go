package proxy

import "github.com/rosproxy/rosproxy/proxy/internal/sock"

// How the bytes of a direction are carried. By default a read goes into the
// shard's scratch buffer and out again at once; what the destination does not
// take is kept aside, and the source is not read until it is gone. A direction
// whose reads are large several times in a row is streaming: from then on its
// bytes go through a pipe by splice(2) and never enter the process, until reads
// get small again.
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
)

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
