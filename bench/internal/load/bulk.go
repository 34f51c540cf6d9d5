package load

import "golang.org/x/sys/unix"

// throwAwaySize is the most that one call takes.
const throwAwaySize = 1 << 20

// Bulk goes level-triggered, one call an event, so that streams take turns.

// takeBulk takes up to n bytes off c: copied into memory, as by whoever wants
// them, where the group has some for that.
func (g *group) takeBulk(c *conn, n int) (int, error) {
	if len(g.sink) > 0 {
		return receive(c.fd, g.sink[:min(n, len(g.sink))])
	}
	return throwAway(c.fd, n)
}

// discard takes what clients send.
type discard struct{ base }

func (*discard) interest() uint32 { return readyIn | unix.EPOLLRDHUP }

func (d *discard) ready(l *loop, c *conn, _ uint32) {
	n, err := d.g.takeBulk(c, throwAwaySize)
	switch {
	case err == errAgain:
	case err != nil || n == 0:
		d.over(l, c)
	default:
		d.g.bytes += uint64(n)
	}
}

// source sends to clients.
type source struct{ base }

func (*source) interest() uint32 { return readyOut | unix.EPOLLRDHUP }

func (s *source) opened(_ *loop, c *conn) { c.owe = s.g.spec.Owed }

func (s *source) ready(l *loop, c *conn, events uint32) {
	send := sendBulk
	if s.g.spec.Owed > 0 {
		send = s.pay
	}
	if !send(l, c, events) {
		s.over(l, c)
	}
}

// pay sends once of what c is owed; it reports whether c lives. Whoever has
// been sent all stays.
func (s *source) pay(l *loop, c *conn, events uint32) bool {
	if events&readyEnd != 0 {
		return false
	}
	n, err := sendMemory(c.fd, l.memory, c.owe)
	if err == errAgain {
		return true
	}
	c.owe -= n
	s.g.bytes += uint64(n)
	if err == nil && c.owe == 0 {
		err = l.poll.control(unix.EPOLL_CTL_MOD, c.fd, unix.EPOLLRDHUP, c.generation)
	}
	return err == nil
}

// ignore is a client that does not read.
type ignore struct{ base }

func (*ignore) interest() uint32 { return unix.EPOLLRDHUP | edge }

func (i *ignore) ready(l *loop, c *conn, events uint32) {
	if events&readyEnd != 0 {
		i.ended(l, c)
	}
}

// sendBulk sends once; it reports whether the connection lives.
func sendBulk(l *loop, c *conn, events uint32) bool {
	if events&readyEnd != 0 {
		return false
	}
	if events&readyOut == 0 {
		return true
	}
	n, err := sendMemory(c.fd, l.memory, memorySize)
	c.group.bytes += uint64(n)
	return err == nil || err == errAgain
}

// sender is a client that sends; with a rate, a chunk a turn.
type sender struct{ base }

func (s *sender) interest() uint32 {
	if s.g.spec.Rate > 0 {
		return unix.EPOLLRDHUP | edge
	}
	return readyOut | unix.EPOLLRDHUP
}

func (s *sender) ready(l *loop, c *conn, events uint32) {
	if s.g.spec.Rate == 0 {
		if !sendBulk(l, c, events) {
			s.ended(l, c)
		}
		return
	}
	if events&readyEnd != 0 {
		s.ended(l, c)
		return
	}
	s.flush(l, c)
}

func (s *sender) tick(l *loop, c *conn, _ int64) {
	c.owe = min(c.owe+s.g.spec.Chunk, 64<<20) // what the proxy cannot keep up with is not saved up for ever
	s.flush(l, c)
}

func (s *sender) flush(l *loop, c *conn) {
	for c.owe > 0 {
		n, err := sendMemory(c.fd, l.memory, c.owe)
		if err == errAgain {
			return
		}
		if err != nil {
			s.ended(l, c)
			return
		}
		c.owe -= n
		s.g.bytes += uint64(n)
	}
}

// receiver is a client that takes; with a rate, a chunk a turn and nothing in between.
type receiver struct{ base }

func (r *receiver) interest() uint32 {
	if r.g.spec.Rate > 0 {
		return unix.EPOLLRDHUP | edge
	}
	return readyIn | unix.EPOLLRDHUP
}

func (r *receiver) ready(l *loop, c *conn, events uint32) {
	if r.g.spec.Rate == 0 {
		if events&readyIn != 0 {
			r.take(l, c, throwAwaySize)
		}
	} else if events&readyEnd != 0 {
		r.ended(l, c)
	}
}

func (r *receiver) tick(l *loop, c *conn, _ int64) { r.take(l, c, r.g.spec.Chunk) }

func (r *receiver) take(l *loop, c *conn, most int) {
	n, err := r.g.takeBulk(c, most)
	switch {
	case err == errAgain:
	case err != nil || n == 0:
		r.ended(l, c)
	default:
		r.g.bytes += uint64(n)
	}
}
