package proxy

// A held client waits for a master that accepts it. Its bytes wait in the
// kernel; a failover does not drop it but carries it over.

// holdDeadline is when c's patience ends. A slow header does not eat into it.
func (s *shard) holdDeadline(c *conn) int64 {
	return c.waiting + int64(s.p.config.HoldTimeout)
}

// hold keeps c until the given time, when it is tried again or ended;
// why is the reason when it is ended at once.
func (s *shard) hold(c *conn, until int64, why Reason) {
	if s.p.clock() >= s.holdDeadline(c) {
		s.finish(c, why, byRST)
		return
	}
	if c.state != held {
		if s.p.held.Add(1) > int64(s.p.config.HoldMax) {
			s.p.held.Add(-1)
			s.finish(c, HoldOverflow, byRST)
			return
		}
		c.tally.held++
		c.state = held
	}
	s.timers.arm(c, until)
	s.watchHeld(c)
}

// watchHeld lets a client go that has left.
func (s *shard) watchHeld(c *conn) {
	switch cl := &c.sides[client]; {
	case cl.broken:
		s.finish(c, ClientReset, byRST)
	case cl.fin && nothingButFIN(int(cl.fd)):
		s.finish(c, ClientClosed, byFIN)
	}
}

// heldTooLong tries again to reach the master, or ends c when its time is up.
func (s *shard) heldTooLong(c *conn) {
	if s.now < s.holdDeadline(c) {
		s.dial(c)
		return
	}
	why := NoMaster
	if c.dials > 0 && c.office.current.Load().takesClients() {
		why = ConnectFailed
	}
	s.finish(c, why, byRST)
}

// dialHeld sends the held clients of o on their way, a turn's worth at a time.
func (s *shard) dialHeld(o *office) {
	if !o.current.Load().takesClients() {
		return
	}
	s.conns.all(func(c *conn) {
		if c.office == o && c.state == held {
			c.dials = 0
			s.queue(c)
		}
	})
}
