package proxy

import (
	"sync/atomic"
	"time"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

const (
	// eventsPerIteration bounds what one iteration of the loop takes on.
	eventsPerIteration = 256
	// readyPerIteration bounds for how long one iteration goes on with ready
	// connections, which are those that have much to move: as long as others, which
	// have little, wait for their events. At least one of them has its turn.
	readyPerIteration = 500 * time.Microsecond
	// timeoutsPerIteration bounds how many deadlines one iteration looks after.
	timeoutsPerIteration = 256
	// cutsPerIteration bounds how many sockets one iteration closes by order,
	// so that other labels are served meanwhile.
	cutsPerIteration = 256
	// tasksPerIteration bounds how many pieces of tasks one iteration does.
	tasksPerIteration = 64

	// A shard whose last look at the clock is older than standstill has stood
	// still, with its process or with the machine: an idle one looks every longestSleep.
	standstill   = time.Second
	longestSleep = standstill / 2
)

// Slots of tokens that are no connection's.
const (
	mailboxSlot       = -1
	firstListenerSlot = -2 // and below: the listening sockets
)

// shard is one event loop. Its goroutine owns the epoll instance, the
// connections and all that is below; others reach it by its mailbox.
type shard struct {
	*loop
	labels    []*label
	listeners *listeners
	peers     []*shard // all shards of the proxy, this one included
	mail      mailbox
	conns     slab
	events    []sock.Event
	tasks     queue[work] // under way
	failovers []*cutJob   // they go before the others
	cuts      []*cutJob
	accepted  uint64
	closed    int         // gracefully, since the drain began to
	accepting bool        // the listeners are in poll
	retryAt   int64       // when accepting is tried again after a shortage; 0: not
	called    atomic.Bool // by another shard, to release a client
	stopped   bool
	affinity  sock.Affinity
}

func newShard(g *shared, labels []*label, ls *listeners, number int) (*shard, error) {
	l, err := newLoop(g, number, len(labels))
	if err != nil {
		return nil, err
	}
	s := &shard{
		loop: l, labels: labels, listeners: ls, mail: mailbox{waker: sock.NoFD},
		events:   make([]sock.Event, eventsPerIteration),
		affinity: sock.Affinity{Number: number, Loops: g.config.Shards},
	}
	s.look = s.lookAtClock
	if s.mail.waker, err = sock.OpenWaker(); err == nil {
		err = s.poll.AddWaker(s.mail.waker, sock.Token{Slot: mailboxSlot})
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// run runs the loop until it is told to stop; then no connection is left. The
// mailbox is open already.
func (s *shard) run() error {
	defer s.end()
	defer func() { _ = s.affinity.Unpin() }() // the thread ends with us where that fails
	s.acceptAgain()
	s.now = s.clock.now()
	for !s.stopped {
		n, err := s.poll.Wait(s.events, s.pollTimeout())
		if err != nil {
			return err
		}
		if err := s.affinity.Note(n); err != nil {
			s.log.Warn().Err(err).Int("shard", s.number).Msg("a busy event loop has no CPU of its own")
		}
		s.lookAtClock()
		for i := range s.events[:n] {
			s.readUrgent() // a fence does not wait for the rest of the iteration
			s.dispatch(&s.events[i])
			s.lookAtClock()
		}
		s.readUrgent()
		s.settleDoubts()
		s.runReady()
		s.expire()
		s.workOnCuts(cutsPerIteration)
		s.release() // behind the cuts, which carry clients over
		s.runTasks()
		s.noteShortage()
		if n == 0 { // nothing to do
			s.logRefusals()
		}
	}
	return nil
}

// pollTimeout is how long the loop may sleep. Mail is no reason not to: its wake ends
// the sleep, or was cleared before the mail was last looked at.
func (s *shard) pollTimeout() time.Duration {
	if !s.ready.isEmpty() || !s.tasks.isEmpty() || len(s.failovers)+len(s.cuts) > 0 {
		return 0
	}
	now := s.clock.now()
	wake := now + int64(longestSleep)
	if at, some := s.timers.next(); some {
		wake = min(wake, at)
	}
	if s.retryAt != 0 {
		wake = min(wake, s.retryAt)
	}
	if len(s.releasing) > 0 {
		wake = min(wake, s.releaseAt)
	}
	if s.doubts.since != 0 {
		wake = min(wake, s.doubtsEnd())
	}
	return max(time.Duration(wake-now), 0)
}

// lookAtClock finds out whether the shard has stood still since its last look.
func (s *shard) lookAtClock() {
	now := s.clock.now()
	if now-s.now > int64(standstill) {
		s.stoodStill(now)
	}
	s.now, s.moved = now, false
}

// readUrgent runs the urgent messages that have come.
func (s *shard) readUrgent() {
	for s.mail.urgent.Load() {
		messages := s.mail.takeUrgent()
		for _, f := range messages {
			f()
		}
		s.mail.giveBack(messages)
	}
}

// runTasks does pieces of the tasks under way, in rotation.
func (s *shard) runTasks() {
	if s.mail.waiting.Load() {
		s.mail.takeTasks(&s.tasks)
	}
	for n := tasksPerIteration; n > 0 && !s.tasks.isEmpty(); n-- {
		s.readUrgent()
		switch w := s.tasks.take(); {
		case w.task == nil:
			s.register(w.client)
		case w.task():
			s.tasks.add(w)
		}
	}
}

func (s *shard) dispatch(e *sock.Event) {
	t := e.Token()
	switch {
	case t.Slot == mailboxSlot:
		sock.ClearWake(s.mail.waker)
	case t.Slot <= firstListenerSlot:
		s.acceptFrom(int(firstListenerSlot - t.Slot))
	default:
		if c := s.conns.get(ref{uint32(t.Slot >> 1), t.Generation}); c != nil {
			c.onEvent(s.loop, int(t.Slot&1), e.Events)
		}
	}
}

// runReady goes on with the connections that need no event.
func (s *shard) runReady() {
	if s.ready.isEmpty() {
		return
	}
	until := s.clock.now() + int64(readyPerIteration)
	for n := s.ready.len(); n > 0; n-- { // who has more to move comes after the others
		s.readUrgent()
		c := s.conns.get(s.ready.take())
		if c == nil {
			continue
		}
		c.queued = false
		c.proceed(s.loop)
		if s.lookAtClock(); s.now >= until {
			return
		}
	}
}

// expire ends or moves on connections whose deadline has passed.
func (s *shard) expire() {
	if s.retryAt != 0 && s.retryAt <= s.now {
		s.acceptAgain()
	}
	for range timeoutsPerIteration {
		slot, some := s.timers.due(s.now)
		if !some {
			return
		}
		s.readUrgent()
		if c := s.conns.at(slot); c != nil {
			c.onDeadline(s.loop)
		}
	}
}

// end leaves nothing behind: every message is read, every task and cut carried
// out, every connection closed.
func (s *shard) end() {
	s.stopped = true
	s.leaveListeners()
	for {
		s.readUrgent()
		for s.runTasks(); !s.tasks.isEmpty(); s.runTasks() {
		}
		for len(s.failovers)+len(s.cuts) > 0 {
			s.workOnCuts(cutsPerIteration)
		}
		s.conns.all(func(c *conn) { c.finish(s.loop, Killed, byRST) })
		if s.mail.stop() {
			return
		}
	}
}

// close gives the shard's own descriptors back.
func (s *shard) close() {
	if s.mail.waker != sock.NoFD {
		sock.Close(s.mail.waker)
	}
	s.loop.close()
}
