package load

import (
	"container/heap"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// conn is one socket; its place in the loop's table is its descriptor.
type conn struct {
	group      *group // nil: no such connection
	fd         int
	index      int   // among its group's
	generation int32 // counts the connections of the descriptor: an event for an earlier one is stale
	listening  bool
	connected  bool
	headed     bool  // its header has come
	id         byte  // of the master that has answered
	got        int   // bytes of the message that is coming in
	owe        int   // bytes that are still to be sent
	began      int64 // when the exchange began, or should have
	late       int64 // when the next should have begun while this one was under way; 0: not yet
}

// loop is one thread's work: an epoll instance, its connections, and timers.
type loop struct {
	clock  Clock
	poll   poller
	bell   bell
	memory int // descriptor of what bulk is sent from
	conns  []conn
	groups []*group
	timers timers
	now    int64 // as of this turn
	source int   // next source address

	mu   sync.Mutex
	mail []func() // guarded by mu
}

func newLoop() (*loop, error) {
	clock, err := NewClock()
	if err != nil {
		return nil, err
	}
	l := &loop{clock: clock}
	if l.poll, err = newPoller(); err != nil {
		return nil, err
	}
	if l.bell, err = newBell(); err != nil {
		return nil, err
	}
	if l.memory, err = newMemory(); err != nil {
		return nil, err
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return nil, fmt.Errorf("read the limit of descriptors: %w", err)
	}
	l.conns = make([]conn, min(limit.Cur, 1<<20))
	return l, l.poll.add(int(l.bell), readyIn, 0)
}

// post has the loop run f between two events.
func (l *loop) post(f func()) {
	l.mu.Lock()
	l.mail = append(l.mail, f)
	l.mu.Unlock()
	l.bell.ring()
}

// run never returns but for an error; the process ends when its input does.
func (l *loop) run() error {
	runtime.LockOSThread()
	sharpTimers()
	events := make([]unix.EpollEvent, 256)
	for {
		n, err := l.poll.wait(events, l.testTimeout())
		if err != nil {
			return err
		}
		l.now = l.clock.Now()
		for i := range events[:n] {
			l.dispatch(&events[i])
		}
		l.fire()
	}
}

func (l *loop) testTimeout() time.Duration {
	if len(l.timers) == 0 {
		return -1
	}
	return time.Duration(max(l.timers[0].at-l.clock.Now(), 0))
}

func (l *loop) dispatch(e *unix.EpollEvent) {
	if int(e.Fd) == int(l.bell) {
		l.readMail()
		return
	}
	c := &l.conns[e.Fd]
	switch {
	case c.group == nil || c.generation != e.Pad:
	case c.listening:
		l.acceptFrom(c)
	default:
		if !c.connected && e.Events&(readyOut|readyEnd) != 0 {
			if e.Events&readyEnd != 0 && e.Events&readyOut == 0 {
				c.group.role.ended(l, c)
				return
			}
			l.established(c)
			if c.group == nil || c.generation != e.Pad { // gone already
				return
			}
		}
		c.group.role.ready(l, c, e.Events)
	}
}

// established tells c's role that its connection is there.
func (l *loop) established(c *conn) {
	c.connected = true
	c.group.live++
	if want := c.group.role.interest(); want&readyOut == 0 { // it was asked for to learn this
		if err := l.poll.control(unix.EPOLL_CTL_MOD, c.fd, want, c.generation); err != nil {
			c.group.role.ended(l, c)
			return
		}
	}
	c.group.role.opened(l, c)
}

func (l *loop) readMail() {
	l.bell.clear()
	l.mu.Lock()
	messages := l.mail
	l.mail = nil
	l.mu.Unlock()
	for _, f := range messages {
		f()
	}
}

// acceptsPerTurn bounds how many connections are taken before the others' turn.
const acceptsPerTurn = 64

func (l *loop) acceptFrom(listener *conn) {
	for range acceptsPerTurn {
		fd, err := accept(listener.fd)
		if err != nil {
			if err != errAgain {
				listener.group.failed++
			}
			return
		}
		c := l.adopt(fd, listener.group)
		c.connected = true
		c.group.live++
		if l.poll.add(fd, c.group.role.interest(), c.generation) != nil {
			l.drop(c)
			listener.group.failed++
			continue
		}
		c.group.role.opened(l, c)
	}
}

// adopt makes fd a connection of g.
func (l *loop) adopt(fd int, g *group) *conn {
	c := &l.conns[fd]
	*c = conn{group: g, fd: fd, generation: c.generation + 1}
	return c
}

// drop closes c.
func (l *loop) drop(c *conn) {
	if c.connected {
		c.group.live--
	}
	closeFD(c.fd)
	c.group = nil
}

// sources are the addresses that clients come from, in turn.
const sources = 16

// dial begins a connection of g to where g's connections go.
func (l *loop) dial(g *group, index int) (*conn, error) {
	l.source = (l.source + 1) % sources
	fd, err := connect(sourceAddress(l.source), g.to, g.spec.Buffer)
	if err != nil {
		return nil, err
	}
	c := l.adopt(fd, g)
	c.index = index
	if err := l.poll.add(fd, g.role.interest()|readyOut, c.generation); err != nil {
		l.drop(c)
		return nil, err
	}
	return c, nil
}

// timer calls f at a time.
type timer struct {
	at int64
	f  func()
}

type timers []timer

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].at < t[j].at }
func (t timers) Swap(i, j int)      { t[i], t[j] = t[j], t[i] }
func (t *timers) Push(x any)        { *t = append(*t, x.(timer)) }
func (t *timers) Pop() any {
	last := (*t)[len(*t)-1]
	*t = (*t)[:len(*t)-1]
	return last
}

func (l *loop) at(when int64, f func()) { heap.Push(&l.timers, timer{when, f}) }

// fire calls what is due, but nothing that is put there meanwhile.
func (l *loop) fire() {
	if len(l.timers) == 0 {
		return
	}
	now := l.clock.Now()
	for n := len(l.timers); n > 0 && len(l.timers) > 0 && l.timers[0].at <= now; n-- {
		heap.Pop(&l.timers).(timer).f()
	}
}
