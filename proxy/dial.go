package proxy

import "time"

const (
	firstBackoff = 20 * time.Millisecond
	lastBackoff  = time.Second
	// equipAfter is well before a keepalive or user timeout can be due.
	equipAfter = 500 * time.Millisecond
)

// dial starts the connection to the current master, or holds c while there is none.
func (s *shard) dial(c *conn) {
	if c.sides[client].broken {
		s.finish(c, ClientReset, byRST)
		return
	}
	e := c.office.current.Load()
	if !e.takesClients() {
		s.hold(c, s.holdDeadline(c), NoMaster)
		return
	}
	s.setState(c, dialing)
	c.epoch = e
	c.dialled = s.p.clock()
	fd, err := startConnect(e.address, s.p.listeners.options)
	if err == nil {
		c.sides[master] = side{fd: int32(fd)}
		err = s.poll.addConn(fd, c.token(master))
	}
	if isShortage(err) {
		// Not the master's fault: newcomers must not take what those here need.
		s.waitOutShortage(err)
	}
	if err != nil {
		s.dialFailed(c)
		return
	}
	wait := s.p.config.ConnectTimeout
	if hold := time.Duration(s.holdDeadline(c) - c.dialled); s.p.config.HoldTimeout > 0 && hold < wait {
		wait = hold
	}
	s.timers.arm(c, c.dialled+int64(wait))
}

// dialAnswered looks at what became of the connect.
func (s *shard) dialAnswered(c *conn) {
	m := &c.sides[master]
	if m.broken {
		s.dialFailed(c)
		return
	}
	if !m.writable {
		return
	}
	// Writable and not in error is connected: a failed connect is reported as
	// EPOLLERR (tcp_poll in net/ipv4/tcp.c looks at sk_err).
	if s.p.isEphemeral(c.epoch.address.Port()) && connectedToItself(int(m.fd), c.epoch.address) {
		s.dialFailed(c)
		return
	}
	if c.fenced() {
		return // the fence takes it back
	}
	c.relayed = s.p.clock()
	s.timers.arm(c, c.relayed+int64(equipAfter))
	c.lastActive = c.relayed
	c.tally.dial.observe(time.Duration(c.relayed - c.dialled))
	s.setState(c, relaying)
	if s.p.config.SendProxy != ProxyOff && !s.announce(c) {
		return
	}
	s.relay(c)
}

// equip gives the master's side of a connection that is there to stay the
// options that find a dead peer.
func (s *shard) equip(c *conn) {
	c.equipped = true
	if err := s.p.listeners.options.applyLater(int(c.sides[master].fd)); err != nil {
		s.p.log.Error().Err(err).Uint64("conn", c.id).Msg("a dead master may go unnoticed")
	}
}

// dialFailed holds c until its next attempt, or ends it when its time is up.
func (s *shard) dialFailed(c *conn) {
	c.tally.dialFailures++
	s.callBack(c)
	c.dials = min(c.dials+1, 16)
	at := s.p.clock() + int64(s.backoff(c.dials))
	s.hold(c, min(at, s.holdDeadline(c)), ConnectFailed)
}

// callBack gives up the attempt to reach a master.
func (s *shard) callBack(c *conn) {
	s.releaseMaster(c, byRST)
	c.epoch = nil
	c.state = arrived
}

// backoff doubles with each attempt; the jitter keeps the clients of a master
// that is back from coming in step.
func (s *shard) backoff(attempt uint8) time.Duration {
	d := min(firstBackoff<<(attempt-1), lastBackoff)
	return d/2 + time.Duration(s.random.Int64N(int64(d/2)))
}
