package proxy

import (
	"net/netip"
	"time"

	"github.com/rs/zerolog"
)

// state of a connection. It moves forward, but for dialing: when the master
// does not take it, it falls back to held, when a fence comes, to arrived.
type state uint8

const (
	arrived  state = iota // to be dialled in this turn or the next
	header                // its PROXY protocol header is not whole yet; arrived comes after
	held                  // no master yet, or waiting to try again
	dialing               // connect to the master is under way
	relaying              // bytes move
	parting               // both peers have had FIN from us; nothing is read any more
	cutting               // its end is ordered; no event touches it any more
)

var stateNames = [...]string{
	arrived: "dialing", header: "header", held: "held", dialing: "dialing", relaying: "relaying", parting: "parting", cutting: "cutting",
}

func (s state) String() string { return stateNames[s] }

// hasReachedMaster tells whether a master may have seen bytes of the client.
func (s state) hasReachedMaster() bool { return s >= relaying }

// The two sides of a connection, and the two directions: direction d reads
// from side d and writes to the other.
const (
	client, master = 0, 1
	up, down       = 0, 1
)

// side is one of the two sockets, with what epoll has said of it. Epoll is
// edge-triggered: what it said stays true until a call says EAGAIN.
type side struct {
	fd       int32 // noFD: none
	readable bool
	writable bool
	fin      bool // the peer has sent FIN: read on until the end of the stream
	urgent   bool // urgent data has been seen, at which reads stop short
	broken   bool // the socket is in error
}

const noFD = -1

// conn is a client's connection and, from dialing on, its master's. It
// belongs to one shard, which alone touches it.
type conn struct {
	index      uint32 // of its slot in the slab
	generation uint32 // of the slot's tenant: an event for an earlier one is stale
	state      state
	queued     bool  // in the shard's ready queue
	equipped   bool  // the master's side has all its socket options
	masterEnds bool  // the master's stream ended before the client's
	dials      uint8 // failed attempts in a row, for the backoff
	partings   uint8 // times a farewell found it talking
	timer      int32 // place in the timers, or unarmed

	id     uint64
	office *office
	tally  *tally
	epoch  *epoch // the one it was dialled in; nil while held
	sides  [2]side
	flows  [2]flow
	peer   netip.AddrPort // the client
	origin *origin        // named by its PROXY header; nil: none did

	// Nanoseconds of the proxy's clock.
	deadline   int64
	accepted   int64
	waiting    int64 // for a master, since it was accepted or its header taken; 0: not yet
	dialled    int64
	relayed    int64
	lastActive int64
}

// fenced tells whether the connection's epoch is over. It is asked before
// every transfer: after SetMaster's store none may begin.
func (c *conn) fenced() bool { return c.office.current.Load() != c.epoch }

// ref names a connection without keeping it alive.
type ref struct{ index, generation uint32 }

func (c *conn) ref() ref { return ref{c.index, c.generation} }

// token names one side of c to epoll.
func (c *conn) token(side int) token {
	return token{slot: int32(c.index)<<1 | int32(side), generation: c.generation}
}

const slabChunk = 256

// slab holds a shard's connections in chunks that never move and are used again.
type slab struct {
	chunks []*[slabChunk]conn
	free   []uint32
}

func (s *slab) take() *conn {
	if len(s.free) == 0 {
		base := uint32(len(s.chunks) * slabChunk)
		s.chunks = append(s.chunks, new([slabChunk]conn))
		for i := uint32(slabChunk); i > 0; i-- {
			s.free = append(s.free, base+i-1)
		}
	}
	last := len(s.free) - 1
	i := s.free[last]
	s.free = s.free[:last]
	c := s.slot(i)
	*c = conn{index: i, generation: c.generation + 1, timer: unarmed}
	c.sides[client].fd, c.sides[master].fd = noFD, noFD
	return c
}

// give frees c's slot: its refs and tokens are stale from here on.
func (s *slab) give(c *conn) {
	*c = conn{index: c.index, generation: c.generation + 1}
	s.free = append(s.free, c.index)
}

func (s *slab) slot(i uint32) *conn { return &s.chunks[i/slabChunk][i%slabChunk] }

// get returns the connection that r was made for; nil when it is gone.
func (s *slab) get(r ref) *conn {
	if int(r.index) >= len(s.chunks)*slabChunk {
		return nil
	}
	if c := s.slot(r.index); c.generation == r.generation && c.office != nil {
		return c
	}
	return nil
}

// all calls f for every connection.
func (s *slab) all(f func(*conn)) {
	for _, chunk := range s.chunks {
		for i := range chunk {
			if c := &chunk[i]; c.office != nil {
				f(c)
			}
		}
	}
}

// ending says how the sockets of a connection are closed.
type ending uint8

const (
	byRST ending = iota // both sides; what is queued is thrown away
	byFIN               // both sides; what is queued still goes out
)

// finish closes what is left of c, counts and logs it, and frees its slot.
func (s *shard) finish(c *conn, why Reason, how ending) { s.finishFor(c, why, how, nil) }

// finishFor is finish for a fault of the client's, which the log tells.
func (s *shard) finishFor(c *conn, why Reason, how ending, fault error) {
	s.releaseMaster(c, how)
	if fd := int(c.sides[client].fd); fd != noFD {
		if how == byRST {
			resetFD(fd)
		} else {
			closeFD(fd)
		}
	}
	s.timers.disarm(c)
	s.setState(c, cutting)
	c.tally.active--
	c.tally.closed[why]++
	s.logClosed(c, why, fault)
	s.conns.give(c)
	s.load.Add(-1)
	s.p.slots.give()
}

// releaseMaster closes the master's side and drops what was on its way.
func (s *shard) releaseMaster(c *conn, how ending) {
	for d := range c.flows {
		s.emptyFlow(c, d)
	}
	m := &c.sides[master]
	if m.fd == noFD {
		return
	}
	if how == byRST {
		resetFD(int(m.fd))
	} else {
		closeFD(int(m.fd))
	}
	*m = side{fd: noFD}
}

// setState keeps the count of the held right.
func (s *shard) setState(c *conn, to state) {
	if c.state == held && to != held {
		c.tally.held--
		s.p.held.Add(-1)
	}
	c.state = to
}

func (s *shard) logClosed(c *conn, why Reason, fault error) {
	level := zerolog.DebugLevel
	if s.p.config.LogConnections {
		level = zerolog.InfoLevel
	}
	if level < s.p.log.GetLevel() || level < zerolog.GlobalLevel() {
		return // before the line is begun: connections are many
	}
	waiting, dialled, relayed := c.waiting, c.dialled, c.relayed
	if dialled == 0 {
		dialled = max(s.now, c.accepted)
	}
	if waiting == 0 {
		waiting = dialled
	}
	if relayed == 0 {
		relayed = max(s.now, dialled)
	}
	number, address := uint64(0), ""
	if c.epoch != nil {
		number, address = c.epoch.number, name(c.epoch.address)
	}
	source := ""
	if c.origin != nil {
		source = c.origin.source.String()
	}
	ms := func(from, to int64) float64 { return milliseconds(time.Duration(to - from)) }
	line := s.p.log.WithLevel(level).Uint64("conn", c.id).Str("label", c.office.label).Stringer("client", c.peer).Str("source", source).
		Str("master", address).Uint64("epoch", number).
		Uint64("bytes_up", c.flows[up].bytes).Uint64("bytes_down", c.flows[down].bytes).
		Float64("held_ms", ms(waiting, dialled)).Float64("dial_ms", ms(dialled, relayed)).
		Float64("duration_ms", ms(c.accepted, max(s.now, c.accepted))).Stringer("reason", why)
	if fault != nil {
		line = line.AnErr("error", fault)
	}
	line.Msg("connection closed")
}
