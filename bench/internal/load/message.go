package load

import (
	"bytes"
	"errors"
)

// largestMessage is the largest request or response.
const largestMessage = 1 << 20

// Messages go edge-triggered, with one epoll_ctl in a connection's life.

// echo is a master that answers requests.
type echo struct {
	base
	answer []byte
}

func newEcho(g *group) *echo {
	return &echo{base: base{g}, answer: bytes.Repeat([]byte{g.spec.ID}, g.spec.Response)}
}

func (*echo) interest() uint32 { return everyEdge }

func (e *echo) ready(l *loop, c *conn, events uint32) {
	if events&(readyIn|readyEnd) != 0 && !e.take(l, c, events) {
		return
	}
	for c.owe > 0 {
		part := len(e.answer) - (c.owe-1)%len(e.answer) - 1 // what has gone of the answer under way
		n, err := send(c.fd, e.answer[part:])
		if err == errAgain {
			return
		}
		if err != nil {
			e.over(l, c)
			return
		}
		c.owe -= n
	}
}

// take reads requests; it reports whether the connection lives.
func (e *echo) take(l *loop, c *conn, events uint32) bool {
	if e.g.spec.Header && !c.headed {
		switch err := skipHeader(c.fd); err {
		case nil:
			c.headed = true
		case errAgain:
			return true
		default:
			e.over(l, c)
			return false
		}
	}
	for {
		n, err := throwAway(c.fd, throwAwaySize)
		if err == errAgain {
			return true
		}
		if err != nil || n == 0 {
			e.over(l, c)
			return false
		}
		e.g.bytes += uint64(n)
		c.got += n
		if whole := c.got / e.g.spec.Request; whole > 0 {
			c.got -= whole * e.g.spec.Request
			c.owe += whole * len(e.answer)
			e.g.exchanges += uint64(whole)
		}
		if n < throwAwaySize && events&readyEnd == 0 { // a short read has emptied the socket (epoll(7))
			return true
		}
	}
}

// longestHeader is that of version 1 of the PROXY protocol (section 2.1 of it).
const longestHeader = 107

// skipHeader takes the header off, and nothing behind it; errAgain when it is not whole yet.
func skipHeader(fd int) error {
	var b [longestHeader]byte
	n, err := peek(fd, b[:])
	if err != nil {
		return err
	}
	end := bytes.IndexByte(b[:n], '\n')
	switch {
	case end >= 0 && bytes.HasPrefix(b[:n], []byte("PROXY ")):
		_, err = throwAway(fd, end+1)
		return err
	case n == 0 || n == len(b) || end >= 0:
		return errors.New("no header of the PROXY protocol")
	default:
		return errAgain
	}
}

// requester is a client's side of exchanges: requests go out, responses come in.
type requester struct {
	base
	request []byte
}

func newRequester(g *group) requester {
	return requester{base: base{g}, request: make([]byte, g.spec.Request)}
}

func (*requester) interest() uint32 { return everyEdge }

// begin sends a request; it reports whether the connection lives.
func (r *requester) begin(c *conn, at int64) bool {
	c.began, c.got, c.owe = at, 0, len(r.request)
	return r.flush(c)
}

func (r *requester) flush(c *conn) bool {
	for c.owe > 0 {
		n, err := send(c.fd, r.request[len(r.request)-c.owe:])
		if err != nil {
			return err == errAgain
		}
		c.owe -= n
	}
	return true
}

// busy reports whether an exchange is under way.
func (c *conn) busy() bool { return c.began != 0 }

// outcome of reading.
type outcome int

const (
	partly   outcome = iota // the rest is on its way
	complete                // the response is there
	broken                  // the connection has ended
)

// take reads what there is of the response.
func (r *requester) take(c *conn) outcome {
	n, err := throwAway(c.fd, throwAwaySize)
	switch {
	case err == errAgain:
		return partly
	case err != nil || n == 0:
		return broken
	}
	r.g.bytes += uint64(n)
	if c.got += n; c.got < r.g.spec.Response {
		return partly
	}
	return complete
}

// exchange is clients that make one exchange after the other.
type exchange struct{ requester }

func newExchange(g *group) *exchange { return &exchange{newRequester(g)} }

func (e *exchange) opened(l *loop, c *conn) {
	if e.g.spec.Rate == 0 && !e.begin(c, l.clock.Now()) {
		e.ended(l, c)
	}
}

// tick begins the exchange whose turn it is. Where the last one is still
// under way it begins right after that, and its wait counts from its turn:
// a proxy that halts does not get fewer requests for it.
func (e *exchange) tick(l *loop, c *conn, scheduled int64) {
	if c.busy() {
		if c.late == 0 {
			c.late = scheduled
		}
		return
	}
	if !e.begin(c, l.clock.Now()) {
		e.ended(l, c)
	}
}

func (e *exchange) ready(l *loop, c *conn, events uint32) {
	if events&readyOut != 0 && c.owe > 0 && !e.flush(c) {
		e.ended(l, c)
		return
	}
	if events&(readyIn|readyEnd) == 0 {
		return
	}
	switch e.take(c) {
	case broken:
		e.ended(l, c)
	case complete:
		now := l.clock.Now()
		e.g.record(now - c.began)
		c.began = 0
		if e.g.spec.Rate == 0 {
			c.late = now
		}
		if at := c.late; at != 0 {
			c.late = 0
			if !e.begin(c, at) {
				e.ended(l, c)
			}
		}
	}
}

// once is clients that connect, exchange once, close, and begin again.
type once struct{ requester }

func newOnce(g *group) *once { return &once{newRequester(g)} }

func (o *once) opened(l *loop, c *conn) {
	if c.began == 0 { // one of the first
		c.began = l.clock.Now()
	}
	if !o.begin(c, c.began) {
		o.ended(l, c)
	}
}

func (o *once) ready(l *loop, c *conn, events uint32) {
	if events&readyOut != 0 && c.owe > 0 && !o.flush(c) {
		o.ended(l, c)
		return
	}
	if events&(readyIn|readyEnd) == 0 {
		return
	}
	switch o.take(c) {
	case broken:
		o.ended(l, c)
	case complete:
		o.g.record(l.clock.Now() - c.began)
		o.again(l, c)
	}
}

func (o *once) ended(l *loop, c *conn) {
	o.g.failed++
	o.again(l, c)
}

const retryPause = 1e6 // nanoseconds

func (o *once) again(l *loop, c *conn) {
	index := c.index
	l.drop(c)
	o.connect(l, index)
}

func (o *once) connect(l *loop, index int) {
	now := l.clock.Now()
	c, err := l.dial(o.g, index)
	if err != nil {
		o.g.failed++
		l.at(now+retryPause, func() { o.connect(l, index) })
		return
	}
	c.began = now
}
