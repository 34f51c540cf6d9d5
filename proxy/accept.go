package proxy

import (
	"net/netip"
	"time"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

const (
	// acceptsPerEvent bounds how many connections one shard takes off a queue
	// before it looks after those it has.
	acceptsPerEvent = 32
	// shortageRetry is how long accepting rests when the machine is out of
	// descriptors or memory and none of our own connections ends.
	shortageRetry = 100 * time.Millisecond
	// A shard keeps a new client while it has at most this fraction more than
	// the one with the fewest, or this many: handing over wakes the other.
	imbalance = 32
	spareWake = 3
)

// acceptFrom takes connections off the queue of listening socket i.
func (s *shard) acceptFrom(i int) {
	for range acceptsPerEvent {
		if !s.accepting || s.shortage != nil { // or an event of before: the listener may be closed by now
			return
		}
		if !s.slots.take() {
			s.leaveListeners()
			s.warnShortage("as many connections as max-conns allows", acceptingPaused)
			s.slots.full.Store(true)
			if !s.slots.isFull() { // given back in the meantime
				s.acceptAgain()
			}
			return
		}
		if !s.acceptOne(i) {
			return
		}
		s.readUrgent()
	}
}

const acceptingPaused = "accepting paused, clients wait in the listen queue"

// acceptOne accepts one connection into the slot that was taken, and reports whether to go on.
func (s *shard) acceptOne(i int) bool {
	fd, peer, err := sock.Accept(s.listeners.sockets[i].fd)
	if err == nil {
		s.assign(fd, peer, s.listeners.sockets[i].label)
		return true
	}
	s.slots.putBack()
	if sock.IsShortage(err) {
		s.shortage = err
	}
	// The queue is empty, or a connection was in error before it was accepted
	// (accept(2)); where there is another, poll says so again.
	return false
}

// newClient is a connection that has been accepted, and belongs to no shard yet.
type newClient struct {
	fd    int
	peer  netip.AddrPort
	label *label
}

// assign gives a new connection to the shard with the fewest, or keeps it when
// the shares are even enough.
func (s *shard) assign(fd int, peer netip.AddrPort, lb *label) {
	target, least := s, s.load.Load()
	tolerance := max(least/imbalance, spareWake)
	for _, other := range s.peers {
		if load := other.load.Load(); load < least {
			target, least = other, load
		}
	}
	if s.load.Load()-least <= tolerance {
		target = s
	}
	target.load.Add(1)
	if target == s {
		s.register(newClient{fd, peer, lb})
		return
	}
	if !target.mail.handOver(newClient{fd, peer, lb}) { // it has ended, as we are about to
		sock.Reset(fd)
		s.slots.give()
	}
}

// register makes a connection of a new client and sends it on its way to the
// master, after its header where one is due.
func (s *shard) register(n newClient) {
	c, lb := s.conns.take(s.loop), n.label
	c.label = lb
	c.setPeer(n.peer)
	c.sides[client] = side{fd: int32(n.fd), writable: true}
	c.accepted = s.clock.now()
	c.id = s.accepted*uint64(len(s.peers)) + uint64(s.number) + 1
	s.accepted++
	count := c.counters(s.loop)
	count.accepted++
	count.active++
	if lb.settings.AcceptProxy && !lb.settings.trusted.contains(n.peer.Addr()) {
		c.finish(s.loop, UntrustedPeer, byRST)
		return
	}
	if err := s.poll.AddConn(n.fd, c.token(client)); err != nil {
		s.log.Error().Err(err).Uint64("conn", c.id).Msg("client connection lost")
		c.finish(s.loop, Internal, byRST)
		return
	}
	if lb.settings.AcceptProxy {
		c.awaitHeader(s.loop)
		return
	}
	c.waitingSince = c.accepted
	c.dialInOrder(s.loop)
}

// noteShortage leaves the clients in the queue until one of our connections
// ends or some time has passed, when the machine was out of something. Until it
// is called, at the end of an iteration, nobody is accepted either.
func (s *shard) noteShortage() {
	if s.shortage == nil {
		return
	}
	s.leaveListeners()
	s.warnShortage(s.shortage.Error(), acceptingPaused)
	s.shortage = nil
	s.retryAt = s.clock.now() + int64(shortageRetry)
	s.slots.short.Store(true)
}

func (s *shard) acceptAgain() {
	s.retryAt = 0
	if !s.stopped && s.listeners.open.Load() {
		s.joinListeners()
	}
}

func (s *shard) joinListeners() {
	if s.accepting {
		return
	}
	s.accepting = true
	for i, l := range s.listeners.sockets {
		if err := s.poll.AddListener(l.fd, sock.Token{Slot: int32(firstListenerSlot - i)}); err != nil {
			s.log.Error().Err(err).Stringer("listen", l.bound).Msg("cannot accept connections")
		}
	}
}

func (s *shard) leaveListeners() {
	if !s.accepting {
		return
	}
	s.accepting = false
	for _, l := range s.listeners.sockets {
		_ = s.poll.Remove(l.fd)
	}
}
