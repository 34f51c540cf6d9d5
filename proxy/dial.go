package proxy

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

const (
	firstBackoff = 20 * time.Millisecond
	lastBackoff  = time.Second
	// waitsAfter is how long a connect, or a header, may take before its client needs a place in the waiting room.
	waitsAfter = 250 * time.Millisecond
	// lateOptionsAfter is well before a keepalive or user timeout can be due.
	lateOptionsAfter = 500 * time.Millisecond
)

// What a dial can fail by without the kernel's saying so.
var (
	errConnectTimeout    = fmt.Errorf("no answer within the connect timeout: %w", sock.ErrTimedOut)
	errConnectedToItself = errors.New("the connection met itself: nobody listens on that local port")
)

// dial starts the connection to the current master, or holds c while there is none.
func (c *conn) dial(l *loop) {
	if c.sides[client].broken {
		c.finish(l, ClientReset, byRST)
		return
	}
	e := c.label.current.Load()
	if !e.takesClients() || c.label.isPaused() || c.label.isUncertain(l) {
		c.hold(l, c.holdDeadline(l), NoMaster)
		return
	}
	c.state = dialing
	c.epoch = e
	c.dialled, c.dialTime = l.clock.now(), 0
	fd, err := sock.Connect(e.address, l.options())
	if err == nil {
		c.sides[master] = side{fd: int32(fd)}
		err = l.poll.AddConn(fd, c.token(master))
	}
	if err != nil {
		c.dialFailed(l, err)
		return
	}
	at := c.dialDeadline(l)
	if !c.inWaitingRoom && l.waitingRoom.isShared() {
		at = min(at, c.dialled+int64(waitsAfter))
	}
	l.timers.arm(c.index, at)
}

// dialDeadline is when the attempt under way has taken long enough.
func (c *conn) dialDeadline(l *loop) int64 {
	wait := c.label.settings.ConnectTimeout
	if hold := c.holdLeft(l, c.dialled); c.label.settings.HoldTimeout > 0 && hold < wait {
		wait = hold
	}
	return c.dialled + int64(wait)
}

// dialTimedOut is for a connect that had no answer so far. After waitsAfter its client
// counts as waiting: clients of a master that hangs would fill every slot.
func (c *conn) dialTimedOut(l *loop) {
	at := c.dialDeadline(l)
	if l.now >= at {
		c.dialFailed(l, errConnectTimeout)
		return
	}
	if !c.startWaiting(l) {
		c.finish(l, HoldOverflow, byRST)
		return
	}
	l.timers.arm(c.index, at)
}

// dialAnswered looks at what became of the connect.
func (c *conn) dialAnswered(l *loop) {
	m := &c.sides[master]
	if m.broken {
		c.dialFailed(l, sock.ConnectError(int(m.fd)))
		return
	}
	if !m.writable {
		return
	}
	// Writable and not in error is connected: a failed connect is reported as
	// EPOLLERR (tcp_poll in net/ipv4/tcp.c looks at sk_err).
	if l.isEphemeral(c.epoch.address.Port()) && sock.ConnectedToItself(int(m.fd), c.epoch.address) {
		c.dialFailed(l, errConnectedToItself)
		return
	}
	l.beforeTransfer() // of the header
	if c.label.current.Load() != c.epoch {
		return // the fence takes it back
	}
	if c.label.isPaused() || c.label.isUncertain(l) { // not a byte, nor a header, may go to it
		c.takeBack(l)
		return
	}
	c.lastActive = l.clock.now()
	took := time.Duration(c.lastActive - c.dialled)
	c.opened, c.dialTime = true, microseconds(took)
	c.label.opened()
	c.stopWaiting(l)
	c.epoch.reached(l, c.label)
	l.timers.arm(c.index, c.lastActive+int64(lateOptionsAfter))
	c.counters(l).dial.observe(took)
	c.state = relaying
	if c.label.settings.SendProxy != ProxyOff && !c.sendHeader(l) {
		return
	}
	c.relay(l)
}

// microseconds is d for a field of 32 bits: 71 minutes at most.
func microseconds(d time.Duration) uint32 { return uint32(min(d.Microseconds(), math.MaxUint32)) }

// setLateOptions gives the master's side of a connection that is there to stay
// the options that find a dead peer.
func (c *conn) setLateOptions(l *loop) {
	c.lateOptions = true
	if c.sides[master].broken {
		return
	}
	if err := l.options().ApplyLater(int(c.sides[master].fd)); err != nil {
		l.log.Error().Err(err).Uint64("conn", c.id).Msg("a dead master may go unnoticed")
	}
}

// dialFailed holds c until its next attempt, or ends it when its time is up.
func (c *conn) dialFailed(l *loop, err error) {
	c.counters(l).countDialFailure(sock.ErrorName(err))
	switch {
	case sock.IsShortage(err):
		// Not the master's fault: newcomers must not take what those here need.
		l.shortage = err
	case sock.IsOutOfPorts(err):
		l.warnShortage(err.Error(), "no local port is left for connections to "+nameOf(c.epoch.address)+", clients are held")
	default:
		c.epoch.notReached(l, c.label, err)
	}
	c.dialTime = microseconds(time.Duration(l.clock.now() - c.dialled))
	c.abortDial(l)
	c.dials = min(c.dials+1, 16)
	at := l.clock.now() + int64(l.backoff(c.dials))
	c.hold(l, min(at, c.holdDeadline(l)), ConnectFailed)
}

// abortDial gives up the attempt to reach a master.
func (c *conn) abortDial(l *loop) {
	c.releaseMaster(l, byRST)
	c.epoch = nil
	c.state = arrived
}

// takeBack has c, which is on its way to a master, wait again.
func (c *conn) takeBack(l *loop) {
	c.abortDial(l)
	c.dials = 0
	c.hold(l, c.holdDeadline(l), NoMaster)
}

// backoff doubles with each attempt; the jitter keeps the clients of a master
// that is back from coming in step.
func (l *loop) backoff(attempt uint8) time.Duration {
	d := min(firstBackoff<<(attempt-1), lastBackoff)
	return d/2 + time.Duration(l.random.Int64N(int64(d/2)))
}
