package proxy

import "errors"

// How bytes move. By default a read goes into the shard's scratch buffer and
// out again at once; what the destination does not take is kept aside, and
// the source is not read until it is gone. A direction whose reads are large
// several times in a row is streaming: from then on its bytes go through a
// pipe by splice(2) and never enter the process, until reads get small again.
const (
	scratchSize = 64 << 10
	largeRead   = 32 << 10
	// streamAfter large reads in a row a direction is streaming.
	streamAfter = 3
	// A splice below smallSplice costs as much as a copy; after smallInARow of
	// them the direction is copied again.
	smallSplice = 16 << 10
	smallInARow = 2
	// turnBudget bytes a direction may move before the others have their turn.
	turnBudget = 1 << 20
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

// verdict is how a turn of a flow ended.
type verdict uint8

const (
	waiting      verdict = iota // for the source, the destination or its next turn
	sourceBroken                // the source is in error
	destBroken                  // the destination is in error
)

// move carries bytes in direction d until a side has to be waited for, the
// budget is spent, or the epoch is over.
func (s *shard) move(c *conn, d int) verdict {
	f, src, dst := &c.flows[d], &c.sides[d], &c.sides[1-d]
	for budget := turnBudget; ; {
		if c.fenced() || f.done {
			return waiting
		}
		if f.rest != nil || f.pipe != nil {
			if v, more := s.flush(c, d); !more {
				return v
			}
			continue // the fence may have come in the meantime
		}
		if f.eof {
			// Forwarded only now: everything before it has been delivered. When
			// the other direction is done too, the close that follows says it.
			f.done = true
			if !c.flows[1-d].done && sendFIN(int(dst.fd)) != nil {
				return destBroken
			}
			return waiting
		}
		if !src.readable || !dst.writable {
			return waiting
		}
		if budget <= 0 {
			s.queue(c)
			return waiting
		}
		var n int
		var err error
		if f.streaming && !src.urgent { // splice stops at the mark for good, recv goes past it
			n, err = s.spliceIn(c, d)
		} else {
			n, err = s.copyThrough(c, d)
		}
		switch {
		case err == errAgain:
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
func (s *shard) copyThrough(c *conn, d int) (int, error) {
	f, src, dst := &c.flows[d], &c.sides[d], &c.sides[1-d]
	n, err := receive(int(src.fd), s.scratch)
	if err != nil {
		return 0, err
	}
	if n == 0 {
		s.sourceEnded(c, d)
		return 0, nil
	}
	s.count(c, d, n)
	// A short read has emptied the socket (epoll(7)), unless it stopped at the
	// mark of urgent data; after FIN the end itself must still be read.
	if n < len(s.scratch) && !src.fin && !src.urgent {
		src.readable = false
	}
	if n < largeRead {
		f.large = 0
	} else if f.large++; f.large >= streamAfter {
		f.streaming, f.large, f.small = true, 0, 0
	}
	sent, err := transmit(int(dst.fd), s.scratch[:n])
	if err != nil && err != errAgain {
		return n, errDestination
	}
	if sent < n {
		dst.writable = false
		f.rest = s.leftovers.keep(s.scratch[sent:n])
	}
	return n, nil
}

// spliceIn fills an empty pipe from the source; flush sends it on. Reading
// into an empty pipe only, EAGAIN always means that the socket is empty.
func (s *shard) spliceIn(c *conn, d int) (int, error) {
	f, src := &c.flows[d], &c.sides[d]
	p := s.pipes.take()
	if p == nil {
		c.tally.pipeFallbacks++
		f.streaming = false
		return 0, nil
	}
	n, err := spliceSome(int(src.fd), p.w, p.size)
	if n == 0 {
		s.pipes.give(p)
		if err == nil {
			s.sourceEnded(c, d)
		}
		return 0, err
	}
	p.held = n
	f.pipe = p
	c.tally.pipes++
	c.tally.spliced += uint64(n)
	s.count(c, d, n)
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
func (s *shard) flush(c *conn, d int) (v verdict, more bool) {
	f, dst := &c.flows[d], &c.sides[1-d]
	if !dst.writable {
		return waiting, false
	}
	if f.rest != nil {
		n, err := transmit(int(dst.fd), f.rest.waiting())
		if err != nil && err != errAgain {
			return destBroken, false
		}
		f.rest.off += n
		if len(f.rest.waiting()) > 0 {
			dst.writable = false
			return waiting, false
		}
		s.leftovers.give(f.rest)
		f.rest = nil
		return waiting, true
	}
	n, err := spliceSome(f.pipe.r, int(dst.fd), f.pipe.held)
	switch {
	case err == errAgain:
		dst.writable = false
		return waiting, false
	case err != nil || n == 0:
		return destBroken, false
	}
	f.pipe.held -= n
	if f.pipe.held == 0 {
		s.givePipe(c, d)
	}
	return waiting, true
}

func (s *shard) givePipe(c *conn, d int) {
	s.pipes.give(c.flows[d].pipe)
	c.flows[d].pipe = nil
	c.tally.pipes--
}

// emptyFlow drops what is on its way in direction d.
func (s *shard) emptyFlow(c *conn, d int) {
	f := &c.flows[d]
	if f.pipe != nil {
		s.givePipe(c, d)
	}
	if f.rest != nil {
		s.leftovers.give(f.rest)
		f.rest = nil
	}
}

// sourceEnded notes the end of the stream in direction d. It counts as a sign
// of life: the half-close timeout begins here.
func (s *shard) sourceEnded(c *conn, d int) {
	c.flows[d].eof = true
	c.lastActive = s.now
	if d == down && !c.flows[up].eof {
		c.masterEnds = true
	}
}

func (s *shard) count(c *conn, d, n int) {
	c.flows[d].bytes += uint64(n)
	c.tally.bytes[d] += uint64(n)
	c.lastActive = s.now
}

// leftover is what a destination did not take of one read.
type leftover struct {
	data []byte
	off  int
}

func (l *leftover) waiting() []byte { return l.data[l.off:] }

// leftoverClasses are the capacities kept, so that a slow reader pins what it
// needs rather than a whole scratch buffer.
var leftoverClasses = [...]int{4 << 10, 16 << 10, scratchSize}

// idleLeftovers of each class a shard keeps for the next one.
const idleLeftovers = 32

// leftovers is one shard's pool.
type leftovers struct {
	idle [len(leftoverClasses)][]*leftover
}

// keep copies b, which is not larger than scratchSize.
func (p *leftovers) keep(b []byte) *leftover {
	class := 0
	for len(b) > leftoverClasses[class] {
		class++
	}
	var l *leftover
	if last := len(p.idle[class]) - 1; last >= 0 {
		l = p.idle[class][last]
		p.idle[class] = p.idle[class][:last]
	} else {
		l = &leftover{data: make([]byte, leftoverClasses[class])}
	}
	l.off, l.data = 0, l.data[:copy(l.data[:cap(l.data)], b)]
	return l
}

func (p *leftovers) give(l *leftover) {
	for class, size := range leftoverClasses {
		if cap(l.data) == size {
			if len(p.idle[class]) < idleLeftovers {
				p.idle[class] = append(p.idle[class], l)
			}
			return
		}
	}
}
