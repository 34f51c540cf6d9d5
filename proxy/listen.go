package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// acceptsPerTurn bounds how many connections one shard takes off a queue
	// before it looks after those it has.
	acceptsPerTurn = 32
	// shortageRetry is how long accepting rests when the machine is out of
	// descriptors or memory and none of our own connections ends.
	shortageRetry = 100 * time.Millisecond
	// A shard keeps a newcomer while it has at most this fraction more than
	// the one with the fewest, or this many: handing over wakes the other.
	imbalance = 32
	spareWake = 3
	// settleTime is what a handshake that was under way when Pause was called
	// has to finish: the round trip of a far client.
	settleTime = 250 * time.Millisecond
	// queuePoll is how often Pause looks whether the queue is empty.
	queuePoll = 5 * time.Millisecond
)

// listeners are the sockets that clients connect to. The shards have them in
// their epolls; they are opened and closed here alone.
type listeners struct {
	configured []Listener
	options    socketOptions

	mu    sync.Mutex // held over a whole Pause or Resume
	fds   []int      // by listener; noFD: closed
	bound []netip.AddrPort
	open  atomic.Bool

	released bool // guarded by mu: another process has the sockets, for good
}

// openAll opens every listener that is not, at the address it was bound to
// before where there is one.
func (l *listeners) openAll(ctx context.Context) error {
	for i, c := range l.configured {
		if l.fds[i] != noFD {
			continue
		}
		fd, bound, err := l.openOne(ctx, i)
		if err != nil {
			l.closeOwn()
			return fmt.Errorf("listener %q: %w", c.Label, err)
		}
		l.fds[i] = fd
		if !l.bound[i].IsValid() { // written once: readers need no lock
			l.bound[i] = bound
		}
	}
	l.open.Store(true)
	return nil
}

func (l *listeners) openOne(ctx context.Context, i int) (fd int, bound netip.AddrPort, err error) {
	switch {
	case l.bound[i].IsValid():
		return openListener(ctx, l.bound[i].String(), l.options)
	case l.configured[i].File != nil:
		return adoptListener(l.configured[i].File, l.options)
	default:
		return openListener(ctx, l.configured[i].Address, l.options)
	}
}

// closeAll gives back every descriptor.
func (l *listeners) closeAll() {
	l.open.Store(false)
	for i := range l.fds {
		l.closeOne(i)
	}
}

// closeOwn leaves those that another process keeps as well: a Resume could not open them.
func (l *listeners) closeOwn() {
	l.open.Store(false)
	for i := range l.fds {
		if !l.configured[i].Shared {
			l.closeOne(i)
		}
	}
}

func (l *listeners) closeOne(i int) {
	if l.fds[i] != noFD {
		closeFD(l.fds[i])
		l.fds[i] = noFD
	}
}

// own are the sockets that no other process keeps.
func (l *listeners) own() []int {
	var own []int
	for i, fd := range l.fds {
		if fd != noFD && !l.configured[i].Shared {
			own = append(own, fd)
		}
	}
	return own
}

// slots bounds the client connections of all shards together. Shards that
// have stopped accepting are told when it is worth another try.
type slots struct {
	max     int64
	used    atomic.Int64
	full    atomic.Bool // a shard waits for a slot
	short   atomic.Bool // a shard waits for what an ending connection gives back to the machine
	freed   func()      // called when there is what a shard waits for
	emptied chan struct{}
}

// take reserves a slot, before the connection that is to have it is accepted.
func (l *slots) take() bool {
	for n := l.used.Load(); n < l.max; n = l.used.Load() {
		if l.used.CompareAndSwap(n, n+1) {
			return true
		}
	}
	return false // never over the limit, not even for a moment: Active is read by others
}

// putBack gives back a slot that no connection has had.
func (l *slots) putBack() {
	left := l.used.Add(-1)
	if l.full.Load() && l.full.CompareAndSwap(true, false) {
		l.freed()
	}
	if left == 0 {
		select {
		case l.emptied <- struct{}{}:
		default:
		}
	}
}

// give gives back the slot of a connection that has ended.
func (l *slots) give() {
	if l.short.Load() && l.short.CompareAndSwap(true, false) {
		l.full.Store(true)
	}
	l.putBack()
}

// acceptFrom takes connections off the queue of listener i.
func (s *shard) acceptFrom(i int) {
	for range acceptsPerTurn {
		if !s.accepting { // an event of before: the listener may be closed by now
			return
		}
		if !s.p.slots.take() {
			s.leaveListeners()
			s.p.warnShortage("as many connections as max-conns allows")
			s.p.slots.full.Store(true)
			if s.p.slots.used.Load() < s.p.slots.max { // given back in the meantime
				s.acceptAgain()
			}
			return
		}
		if !s.acceptOne(i) {
			return
		}
	}
}

// acceptOne accepts one connection into the slot that was taken; it tells whether to go on.
func (s *shard) acceptOne(listener int) bool {
	fd, peer, err := acceptOne(s.p.listeners.fds[listener])
	if err == nil {
		s.place(fd, peer, listener)
		return true
	}
	s.p.slots.putBack()
	switch {
	case err == errAgain:
		return false
	case isShortage(err):
		s.waitOutShortage(err)
		return false
	default:
		// The connection was in error before it was accepted (accept(2)); the next may be fine.
		return true
	}
}

// place gives a new connection to the shard with the fewest, or keeps it when
// the shares are even enough.
func (s *shard) place(fd int, peer netip.AddrPort, listener int) {
	target, least := s, s.load.Load()
	tolerance := max(least/imbalance, spareWake)
	for _, other := range s.p.shards {
		if load := other.load.Load(); load < least {
			target, least = other, load
		}
	}
	if s.load.Load()-least <= tolerance {
		target = s
	}
	target.load.Add(1)
	if target == s {
		s.welcome(fd, peer, listener)
		return
	}
	if !target.mail.post(func() { target.welcome(fd, peer, listener) }) { // it has ended, as we are about to
		resetFD(fd)
		target.load.Add(-1)
		s.p.slots.give()
	}
}

// welcome makes a connection of a new client and sends it on its way to the
// master, after its header where one is due.
func (s *shard) welcome(fd int, peer netip.AddrPort, listener int) {
	c := s.conns.take()
	c.office, c.tally = s.p.offices[listener], &s.tallies[listener]
	c.peer = peer
	c.sides[client] = side{fd: int32(fd), writable: true}
	c.accepted = s.p.clock()
	c.id = s.accepted*uint64(len(s.p.shards)) + uint64(s.number) + 1
	s.accepted++
	c.tally.accepted++
	c.tally.active++
	if s.p.config.AcceptProxy && !s.p.trusted.contains(peer.Addr()) {
		s.finish(c, UntrustedPeer, byRST)
		return
	}
	if err := s.poll.addConn(fd, c.token(client)); err != nil {
		s.p.log.Error().Err(err).Uint64("conn", c.id).Msg("client connection lost")
		s.finish(c, Internal, byRST)
		return
	}
	if s.p.config.AcceptProxy {
		s.awaitHeader(c)
		return
	}
	c.waiting = c.accepted
	s.dial(c)
}

// waitOutShortage leaves the clients in the queue until one of our
// connections ends or some time has passed.
func (s *shard) waitOutShortage(of error) {
	s.leaveListeners()
	s.p.warnShortage(of.Error())
	s.retryAt = s.p.clock() + int64(shortageRetry)
	s.p.slots.short.Store(true)
}

func (s *shard) acceptAgain() {
	s.retryAt = 0
	if !s.stopped && s.p.listeners.open.Load() {
		s.joinListeners()
	}
}

func (s *shard) joinListeners() {
	if s.accepting {
		return
	}
	s.accepting = true
	for i, fd := range s.p.listeners.fds {
		if err := s.poll.addListener(fd, token{slot: int32(firstListenerSlot - i)}); err != nil {
			s.p.log.Error().Err(err).Stringer("listen", s.p.listeners.bound[i]).Msg("cannot accept connections")
		}
	}
}

func (s *shard) leaveListeners() {
	if !s.accepting {
		return
	}
	s.accepting = false
	for _, fd := range s.p.listeners.fds {
		_ = s.poll.remove(fd)
	}
}

// leaveListeners has every shard leave them, and returns when all have.
func (p *Proxy) leaveListeners() {
	p.listeners.open.Store(false)
	left := make(chan struct{}, len(p.shards))
	p.tell(func(s *shard) {
		s.leaveListeners()
		left <- struct{}{}
	})
	for range p.shards {
		<-left
	}
}

// Pause stops accepting. Every connection whose handshake was complete is
// accepted first, for which it waits when MaxConns is reached; when Pause
// returns the listeners are closed. Those that another process keeps as well
// (Listener.Shared) are not: their clients wait for Resume, or for that process.
func (p *Proxy) Pause() { _ = p.pause(context.Background()) }

// pause is Pause with an end. When ctx's deadline passes first, the listeners
// are closed with what is in their queues; when ctx is cancelled, they stay
// open and nothing is lost. Either way it returns ctx's error.
func (p *Proxy) pause(ctx context.Context) error {
	l := &p.listeners
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.open.Load() {
		return nil
	}
	for _, fd := range l.own() {
		if err := refuseNewHandshakes(fd); err != nil {
			p.log.Error().Err(err).Msg("connections that arrive while the listener closes may be reset")
		}
	}
	err := p.emptyQueues(ctx)
	if errors.Is(err, context.Canceled) {
		for _, fd := range l.own() {
			allowNewHandshakes(fd)
		}
		return err
	}
	p.leaveListeners()
	l.closeOwn()
	for _, at := range l.bound {
		p.log.Info().Stringer("listen", at).Msg("listener closed")
	}
	return err
}

// emptyQueues waits until handshakes under way are over and the shards have
// accepted all there is.
func (p *Proxy) emptyQueues(ctx context.Context) error {
	settled := p.clock() + int64(settleTime)
	tick := time.NewTicker(queuePoll)
	defer tick.Stop()
	for {
		waiting := 0
		for _, fd := range p.listeners.own() {
			n, err := waitingInQueue(fd)
			if err != nil {
				return err
			}
			waiting += n
		}
		if waiting == 0 && p.clock() >= settled || p.ended.Load() || !p.serving.Load() {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// Resume opens the listeners again, at the addresses they were bound to.
func (p *Proxy) Resume() error {
	l := &p.listeners
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.ended.Load() {
		return ErrClosed
	}
	if l.released {
		return ErrReleased
	}
	if l.open.Load() {
		return nil
	}
	if err := l.openAll(context.Background()); err != nil {
		return err
	}
	for _, at := range l.bound {
		p.log.Info().Stringer("listen", at).Msg("listener opened")
	}
	if p.serving.Load() {
		p.tell(func(s *shard) { s.acceptAgain() })
	}
	return nil
}
