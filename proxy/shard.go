package proxy

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

const (
	// eventsPerTurn bounds what one turn of the loop takes on.
	eventsPerTurn = 256
	// queuedPerTurn bounds how many queued connections one turn goes on with.
	queuedPerTurn = 256
	// cutsPerTurn bounds how many sockets of a cut one turn closes, so that
	// other labels are served meanwhile.
	cutsPerTurn = 256
)

// Tokens of what is no connection.
const (
	mailboxSlot       = -1
	firstListenerSlot = -2 // and below: the listeners
)

// shard is one event loop. Its goroutine owns the epoll instance, the
// connections and all that is below; others reach it by its mailbox.
type shard struct {
	p         *Proxy
	number    int
	poll      poller
	mail      mailbox
	events    []event
	scratch   []byte
	conns     slab
	timers    timers
	pipes     pipeCache
	leftovers leftovers
	tallies   []tally // by listener
	ready     []ref   // connections that go on without a new event
	spare     []ref
	cuts      []*cutJob
	now       int64 // nanoseconds of the proxy's clock, as of this turn
	accepted  uint64
	parted    int   // in the farewell under way
	accepting bool  // the listeners are in poll
	retryAt   int64 // when accepting is tried again after a shortage; 0: not
	stopped   bool
	home      home
	random    *rand.Rand

	load atomic.Int64 // connections here or on their way, for the balance
}

func newShard(p *Proxy, number int) (*shard, error) {
	s := &shard{
		p: p, number: number, mail: mailbox{bell: noFD},
		events: make([]event, eventsPerTurn), scratch: make([]byte, scratchSize),
		pipes:   pipeCache{budget: &p.pipes},
		tallies: make([]tally, len(p.offices)),
		home:    home{number: number, shards: p.config.Shards},
		random:  rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
	}
	for i := range s.tallies {
		s.tallies[i].dial = newHistogram(dialBounds)
	}
	var err error
	if s.poll, err = newPoller(); err != nil {
		return nil, err
	}
	if s.mail.bell, err = openEventFD(); err == nil {
		err = s.poll.addMailbox(s.mail.bell, token{slot: mailboxSlot})
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// run turns the loop until it is told to stop; then no connection is left. The
// mailbox is open already.
func (s *shard) run() error {
	defer s.end()
	defer func() { _ = s.home.leave() }() // the thread ends with us where that fails
	s.acceptAgain()
	for !s.stopped {
		n, err := s.poll.wait(s.events, s.patience())
		if err != nil {
			return err
		}
		s.now = s.p.clock()
		if err := s.home.note(n); err != nil {
			s.p.log.Warn().Err(err).Int("shard", s.number).Msg("a busy event loop has no CPU of its own")
		}
		for i := range s.events[:n] {
			if s.mail.waiting.Load() { // a fence does not wait for the rest of the turn
				s.readMail()
			}
			s.dispatch(&s.events[i])
		}
		s.readMail()
		s.goOn()
		s.expire()
		s.workOnCuts(cutsPerTurn)
	}
	return nil
}

// patience is how long the loop may sleep; negative: until something happens.
func (s *shard) patience() time.Duration {
	if len(s.ready) > 0 || len(s.cuts) > 0 || s.mail.waiting.Load() {
		return 0
	}
	next, some := s.timers.next()
	if s.retryAt != 0 && (!some || s.retryAt < next) {
		next, some = s.retryAt, true
	}
	if !some {
		return -1
	}
	return max(time.Duration(next-s.p.clock()), 0)
}

func (s *shard) readMail() {
	if !s.mail.waiting.Load() {
		return
	}
	letters := s.mail.take()
	for _, f := range letters {
		f()
	}
	s.mail.give(letters)
}

func (s *shard) dispatch(e *event) {
	t := e.token()
	switch {
	case t.slot == mailboxSlot:
		hush(s.mail.bell)
	case t.slot <= firstListenerSlot:
		s.acceptFrom(int(firstListenerSlot - t.slot))
	default:
		if c := s.conns.get(ref{uint32(t.slot >> 1), t.generation}); c != nil {
			s.onEvent(c, int(t.slot&1), e.Events)
		}
	}
}

// onEvent notes what epoll says of one side of c, and goes on with c.
func (s *shard) onEvent(c *conn, which int, ready uint32) {
	sd := &c.sides[which]
	if ready&(readyIn|readyFIN|readyHUP|readyError|readyUrgent) != 0 {
		sd.readable = true
	}
	if ready&(readyOut|readyHUP|readyError) != 0 {
		sd.writable = true
	}
	sd.fin = sd.fin || ready&(readyFIN|readyHUP) != 0
	sd.urgent = sd.urgent || ready&readyUrgent != 0
	sd.broken = sd.broken || ready&readyError != 0

	switch c.state {
	case header:
		s.readHeader(c)
	case relaying:
		s.relay(c)
	case dialing:
		if which == master {
			s.dialAnswered(c)
		} else if sd.broken {
			s.finish(c, ClientReset, byRST)
		}
	case held:
		s.watchHeld(c)
	case parting:
		s.watchParting(c)
	}
}

// relay moves what can be moved both ways, and ends c when it is over.
func (s *shard) relay(c *conn) {
	for d := range c.flows {
		switch s.move(c, d) {
		case sourceBroken:
			s.finish(c, brokenReason(c, d), byRST)
			return
		case destBroken:
			s.finish(c, brokenReason(c, 1-d), byRST)
			return
		}
	}
	if c.fenced() {
		return // the cut is on its way
	}
	for which := range c.sides {
		if c.sides[which].broken { // what it had sent before has been moved
			s.finish(c, brokenReason(c, which), byRST)
			return
		}
	}
	if c.flows[up].done && c.flows[down].done {
		s.finish(c, closedReason(c), byFIN)
		return
	}
	s.watchRelaying(c)
}

// brokenReason blames the side whose socket is in error, unless it had closed
// in good order and only refuses what still came.
func brokenReason(c *conn, which int) Reason {
	closed := c.flows[which].eof
	switch {
	case which == client && closed:
		return ClientClosed
	case which == client:
		return ClientReset
	case closed:
		return MasterClosed
	default:
		return MasterReset
	}
}

func closedReason(c *conn) Reason {
	if c.masterEnds {
		return MasterClosed
	}
	return ClientClosed
}

// watchRelaying sets the deadline that the timeouts ask for.
func (s *shard) watchRelaying(c *conn) {
	wait := s.p.config.IdleTimeout
	if half := s.p.config.HalfCloseTimeout; half > 0 && (c.flows[up].eof || c.flows[down].eof) && (wait == 0 || half < wait) {
		wait = half
	}
	if wait == 0 {
		return
	}
	// Later deadlines are found out when the earlier one is due: no work per byte.
	if at := c.lastActive + int64(wait); c.timer == unarmed || at < c.deadline {
		s.timers.arm(c, at)
	}
}

// goOn gives the queued connections their turn.
func (s *shard) goOn() {
	if len(s.ready) == 0 {
		return
	}
	turn := s.ready
	rest := turn[min(len(turn), queuedPerTurn):]
	s.ready = append(s.spare[:0], rest...)
	for _, r := range turn[:len(turn)-len(rest)] {
		if s.mail.waiting.Load() {
			s.readMail()
		}
		c := s.conns.get(r)
		if c == nil {
			continue
		}
		c.queued = false
		switch c.state {
		case relaying:
			s.relay(c)
		case arrived, held:
			s.dial(c)
		}
	}
	s.spare = turn
}

// queue has c go on in the next turn.
func (s *shard) queue(c *conn) {
	if !c.queued {
		c.queued = true
		s.ready = append(s.ready, c.ref())
	}
}

// expire ends or moves on the connections whose deadline has passed.
func (s *shard) expire() {
	if s.retryAt != 0 && s.retryAt <= s.now {
		s.acceptAgain()
	}
	for c := s.timers.due(s.now); c != nil; c = s.timers.due(s.now) {
		switch c.state {
		case header:
			s.headerLate(c)
		case held:
			s.heldTooLong(c)
		case dialing:
			s.dialFailed(c)
		case relaying:
			s.lookAfter(c)
		case parting:
			s.finish(c, DrainDeadline, byRST)
		}
	}
}

// lookAfter does what is due on a relaying connection.
func (s *shard) lookAfter(c *conn) {
	if !c.equipped {
		s.equip(c)
	}
	silent := time.Duration(s.now - c.lastActive)
	half := s.p.config.HalfCloseTimeout
	switch idle := s.p.config.IdleTimeout; {
	case c.fenced():
	case half > 0 && (c.flows[up].eof || c.flows[down].eof) && silent >= half:
		// Not by FIN: the open side would take it for the end of an answer.
		s.finish(c, HalfClose, byRST)
	case idle > 0 && silent >= idle:
		s.finish(c, Idle, byFIN)
	default:
		s.watchRelaying(c)
	}
}

// end leaves nothing behind: every letter is read, every cut carried out,
// every connection closed.
func (s *shard) end() {
	s.stopped = true
	s.leaveListeners()
	for {
		s.readMail()
		for len(s.cuts) > 0 {
			s.workOnCuts(cutsPerTurn)
		}
		s.conns.all(func(c *conn) { s.finish(c, Killed, byRST) })
		if s.mail.stop() {
			return
		}
	}
}

// close gives the shard's own descriptors back.
func (s *shard) close() {
	s.pipes.close()
	if s.mail.bell != noFD {
		closeFD(s.mail.bell)
	}
	closeFD(s.poll.fd)
}
