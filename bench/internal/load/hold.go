package load

// hold is clients that exchange once and stay, to see when they are cut off.
type hold struct {
	requester
	answer []byte
}

func newHold(g *group) *hold {
	return &hold{requester: newRequester(g), answer: make([]byte, g.spec.Response)}
}

func (h *hold) opened(l *loop, c *conn) {
	if !h.begin(c, l.clock.Now()) {
		h.ended(l, c)
	}
}

func (h *hold) ready(l *loop, c *conn, events uint32) {
	if events&readyEnd != 0 {
		h.ended(l, c)
		return
	}
	if events&readyOut != 0 && c.owe > 0 && !h.flush(c) {
		h.ended(l, c)
		return
	}
	if events&readyIn == 0 {
		return
	}
	n, err := receive(c.fd, h.answer)
	switch {
	case err == errAgain:
		return
	case err != nil || n == 0:
		h.ended(l, c)
		return
	}
	h.g.bytes += uint64(n)
	if c.id == 0 {
		c.id = h.answer[0]
		if h.isWanted(c.id) {
			h.serve(l.clock.Now())
		}
	}
	if c.got += n; c.got == h.g.spec.Response {
		h.g.record(l.clock.Now() - c.began)
		c.began = 0
	}
}

func (h *hold) isWanted(id byte) bool { return h.g.wanted == 0 || id == h.g.wanted }

func (h *hold) serve(now int64) {
	if h.g.served == 0 {
		h.g.firstServed = now
	}
	h.g.served++
	h.g.lastServed = now
}

// ended notes who is cut. Whoever does not return leaves its descriptor as it
// is: closing would take time from seeing the others.
func (h *hold) ended(l *loop, c *conn) {
	if c.id != 0 && (h.g.wanted == 0 || c.id != h.g.wanted) {
		h.g.closed++
		h.g.lastClosed = l.clock.Now()
	} else {
		h.g.failed++
	}
	if !h.g.spec.Return {
		if c.connected {
			h.g.live--
		}
		c.group = nil
		return
	}
	index, answered := c.index, c.id != 0
	l.drop(c)
	if !answered { // refused or reset before an answer: not at once again
		l.at(l.clock.Now()+retryPause, func() { h.connect(l, index) })
		return
	}
	h.connect(l, index)
}

func (h *hold) connect(l *loop, index int) {
	if _, err := l.dial(h.g, index); err != nil {
		h.g.failed++
		l.at(l.clock.Now()+retryPause, func() { h.connect(l, index) })
	}
}
