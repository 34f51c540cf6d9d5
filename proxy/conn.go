package proxy

import (
	"net/netip"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/proxy/internal/proxyproto"
	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// state of a connection. It moves forward, but for dialing: when the master
// does not take it, it falls back to held, when a fence comes, to arrived.
type state uint8

const (
	arrived  state = iota // to be dialled in this iteration or the next
	header                // its PROXY protocol header is not whole yet; arrived comes after
	held                  // no master yet, or waiting to try again
	dialing               // connect to the master is under way
	relaying              // bytes move
	closing               // both peers have had FIN from us; nothing is read any more
	cutting               // its end is ordered; no event touches it any more
)

var stateNames = [...]string{
	arrived: "dialing", header: "header", held: "held", dialing: "dialing", relaying: "relaying", closing: "closing", cutting: "cutting",
}

func (s state) String() string { return stateNames[s] }

// hasReachedMaster reports whether a master may have seen bytes of the client.
func (s state) hasReachedMaster() bool { return s >= relaying }

// The two sides of a connection, and the two directions: direction d reads
// from side d and writes to the other.
const (
	client, master = 0, 1
	up, down       = 0, 1
	noSide         = -1
)

// side is one of the two sockets, with what epoll has said of it. Epoll is
// edge-triggered: what it said stays true until a call says EAGAIN.
type side struct {
	fd       int32 // sock.NoFD: none
	readable bool
	writable bool
	fin      bool // the peer has sent FIN: read on until the end of the stream
	urgent   bool // urgent data has been seen, at which reads stop short
	sentFIN  bool // it has had FIN from us
	probed   bool // its closed window is probed more often than is usual
	dead     bool // its peer does not answer: nothing more will come
	broken   bool // the socket is in error, or its peer dead
}

// conn is a client's connection and, from dialing on, its master's. It
// belongs to one shard, which alone touches it. Its size is what an idle
// connection costs, see TestIdleConnectionTakesLittle.
type conn struct {
	index         uint32 // of its slot in the slab
	generation    uint32 // counts the connections of the slot: an event for an earlier one is stale
	state         state
	queued        bool     // in the ready queue
	lateOptions   bool     // the master's side has all its socket options
	masterEnds    bool     // the master's stream ended before the client's
	sentLast      int8     // the side from which the last bytes came, or noSide
	orderedEnd    Reason   // of its graceful close
	inWaitingRoom bool     // it has one of the bounded places for clients without a master
	dials         uint8    // failed attempts in a row, for the backoff
	talked        uint8    // times a graceful close found it talking
	brokeFirst    int8     // the side whose error ended it, or noSide
	withheld      bool     // a cut has thrown away bytes that the client was to have
	streamed      [2]uint8 // by direction: small reads to come until it counts as a stream no more
	opened        bool     // bytes have begun to move: it is one of the label's live ones
	port          uint16   // of the client
	watch         uint32   // of the bytes in its send queues: noWatch, watchPending, or its place in the pool
	queuePlace    int32    // in the release queue, counted from 1; 0: it is not in it
	dialTime      uint32   // that the last dial took, in microseconds; 0: none is over
	resumed       stamp    // when bytes began to move after the last pause

	id     uint64
	label  *label
	epoch  *epoch // the one it was dialled in; nil while held
	sides  [2]side
	flows  [2]flow
	ip     [16]byte           // of the client; IPv4 mapped into IPv6
	origin *proxyproto.Origin // named by its PROXY header; nil: none did

	// Times of the clock.
	accepted     int64
	waitingSince int64 // for a master: when it was accepted, or its header taken; 0: not yet
	dialled      int64
	lastActive   int64
}

// fenced reports whether no transfer may begin: the connection's epoch is over,
// its lease has lapsed, or its master is in doubt. It is asked before every
// transfer: after SetMaster's store none may begin.
func (c *conn) fenced(l *loop) bool {
	return c.label.current.Load() != c.epoch || c.label.isUncertain(l)
}

// counters are those of c's label on this loop.
func (c *conn) counters(l *loop) *counters { return &l.counters[c.label.index] }

// peer is the client's address.
func (c *conn) peer() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(c.ip).Unmap(), c.port)
}

func (c *conn) setPeer(a netip.AddrPort) { c.ip, c.port = a.Addr().As16(), a.Port() }

func (c *conn) ref() ref { return ref{c.index, c.generation} }

// token names one side of c to epoll.
func (c *conn) token(side int) sock.Token {
	return sock.Token{Slot: int32(c.index)<<1 | int32(side), Generation: c.generation}
}

// enqueue has c go on in the next iteration.
func (c *conn) enqueue(l *loop) {
	if !c.queued {
		c.queued = true
		l.ready.add(c.ref())
	}
}

// ending says how the sockets of a connection are closed.
type ending uint8

const (
	byRST ending = iota // both sides; what is queued is thrown away
	byFIN               // both sides; what is queued still goes out
)

// finish closes what is left of c, counts and logs it, and frees its slot.
func (c *conn) finish(l *loop, why Reason, how ending) { c.finishFor(l, why, how, nil) }

// finishFor is finish for a fault of the client's, which the log tells.
func (c *conn) finishFor(l *loop, why Reason, how ending, fault error) {
	c.releaseMaster(l, how)
	if fd := int(c.sides[client].fd); fd != sock.NoFD {
		how.close(fd)
	}
	l.timers.disarm(c.index)
	c.stopWaiting(l)
	c.stopWatch(l)
	c.unqueueRelease(l)
	if c.opened {
		c.label.closed()
	}
	count := c.counters(l)
	count.active--
	count.closed[why]++
	c.logClosed(l, why, fault)
	if why.isRefusal() {
		l.refused(why, c.label.name, c.peer(), fault)
	}
	*c = conn{index: c.index, generation: c.generation} // no ref or token finds a slot that is free, nor whoever is in it next
	l.free = append(l.free, c.index)
	l.load.Add(-1)
	l.slots.give()
}

func (e ending) close(fd int) {
	if e == byRST {
		sock.Reset(fd)
	} else {
		sock.CloseInOrder(fd)
	}
}

// releaseMaster closes the master's side and drops what was on its way.
func (c *conn) releaseMaster(l *loop, how ending) {
	for d := range c.flows {
		c.emptyFlow(l, d)
	}
	m := &c.sides[master]
	if m.fd == sock.NoFD {
		return
	}
	how.close(int(m.fd))
	*m = side{fd: sock.NoFD}
}

func (c *conn) logClosed(l *loop, why Reason, fault error) {
	level := zerolog.DebugLevel
	if l.config.LogConnections {
		level = zerolog.InfoLevel
	}
	if level < l.log.GetLevel() || level < zerolog.GlobalLevel() {
		return // before the line is begun: connections are many
	}
	dialled, dialTime := c.dialled, time.Duration(c.dialTime)*time.Microsecond
	// The loop's time is that of its iteration, in which all of these may have come.
	now := max(l.now, c.accepted, c.waitingSince, dialled+int64(dialTime))
	switch {
	case c.state == dialing:
		dialTime = time.Duration(max(now-dialled, 0))
	case !c.opened: // held until now, but for the last dial
		dialled = now - int64(dialTime)
	}
	waiting := c.waitingSince
	if waiting == 0 {
		waiting = dialled
	}
	of := c.epoch
	if of == nil && why == ConnectFailed {
		of = c.label.current.Load() // its last dial has failed
	}
	number, address := uint64(0), ""
	if of != nil {
		number, address = of.number, nameOf(of.address)
	}
	source := ""
	if c.origin != nil {
		source = c.origin.Source.String()
	}
	ms := func(from, to int64) float64 { return milliseconds(time.Duration(to - from)) }
	line := l.log.WithLevel(level).Uint64("conn", c.id).Str("label", c.label.name).Stringer("client", c.peer()).Str("source", source).
		Str("master", address).Uint64("epoch", number).
		Uint64("bytes_up", c.flows[up].bytes).Uint64("bytes_down", c.flows[down].bytes).
		Float64("held_ms", ms(waiting, dialled)).Float64("dial_ms", milliseconds(dialTime)).
		Float64("duration_ms", ms(c.accepted, now)).Stringer("reason", why)
	if fault != nil {
		line = line.AnErr("error", fault)
	}
	line.Msg("connection closed")
}
