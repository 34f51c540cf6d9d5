package proxy

import "github.com/rosproxy/rosproxy/proxy/internal/sock"

// slab holds a shard's connections in chunks that never move and are used again.
type slab struct {
	chunks []*[slabChunk]conn
}

// take returns a connection in a free slot, of which it makes some when there is none.
func (s *slab) take(l *loop) *conn {
	if len(l.free) == 0 {
		base := uint32(len(s.chunks) * slabChunk)
		s.chunks = append(s.chunks, new([slabChunk]conn))
		for i := uint32(slabChunk); i > 0; i-- {
			l.free = append(l.free, base+i-1)
		}
	}
	last := len(l.free) - 1
	i := l.free[last]
	l.free = l.free[:last]
	c := s.slot(i)
	*c = conn{index: i, generation: c.generation + 1, brokeFirst: noSide, sentLast: noSide}
	c.sides[client].fd, c.sides[master].fd = sock.NoFD, sock.NoFD
	return c
}

func (s *slab) slot(i uint32) *conn { return &s.chunks[i/slabChunk][i%slabChunk] }

func (s *slab) size() int { return len(s.chunks) * slabChunk }

// get returns the connection that r was made for; nil when it is gone.
func (s *slab) get(r ref) *conn {
	if c := s.at(r.index); c != nil && c.generation == r.generation {
		return c
	}
	return nil
}

// at returns the connection in slot i; nil when it is free.
func (s *slab) at(i uint32) *conn {
	if int(i) >= s.size() {
		return nil
	}
	if c := s.slot(i); c.label != nil {
		return c
	}
	return nil
}

// all calls f for every connection.
func (s *slab) all(f func(*conn)) { s.some(0, s.size(), f) }

// some calls f for the connections in n slots from the first on, and returns
// where to go on; that is no less than size when none is left.
func (s *slab) some(first, n int, f func(*conn)) (next int) {
	next = min(first+n, s.size())
	for i := first; i < next; i++ {
		if c := s.slot(uint32(i)); c.label != nil {
			f(c)
		}
	}
	return next
}
