package proxy

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	pires "github.com/pires/go-proxyproto"

	"github.com/rosproxy/rosproxy/proxy/internal/proxyproto"
	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// The headers of the PROXY protocol on their way: taken off a client's socket
// before anything else is done with it, and sent to a master before anything
// else is.

// headerTimeout is how long a client has for its header. It is the shortest
// that the specification allows for, since it covers a lost segment.
const headerTimeout = 3 * time.Second

var (
	errHeaderLate  = fmt.Errorf("no whole header within %v", headerTimeout)
	errHeaderShort = errors.New("the connection ended within the header")
)

// awaitHeader begins to wait for c's header. It is looked for when epoll says
// that there is something to read.
func (c *conn) awaitHeader(l *loop) {
	c.state = header
	at := c.headerDeadline(l)
	if l.waitingRoom.isShared() {
		at = min(at, c.accepted+int64(waitsAfter))
	}
	l.timers.arm(c.index, at)
}

func (c *conn) headerDeadline(l *loop) int64 { return c.accepted + int64(l.headerTimeout) }

// readHeader takes c's header off the socket, and nothing after it: the rest
// of the stream stays with the kernel, to be spliced. Until the header is whole
// it is only looked at.
func (c *conn) readHeader(l *loop) {
	cl := &c.sides[client]
	if cl.broken {
		c.finish(l, ClientReset, byRST)
		return
	}
	if !cl.readable {
		return
	}
	n, err := sock.Peek(int(cl.fd), l.scratch[:proxyproto.LongestHeader+1]) // one more: whether there is something behind the longest
	switch {
	case err == sock.ErrAgain:
		cl.readable = false
		return
	case err != nil:
		c.finish(l, ClientReset, byRST)
		return
	case n == 0: // a health check of a balancer does that, with no header
		c.finish(l, ClientClosed, byFIN)
		return
	}
	size, bad := proxyproto.Delimit(l.scratch[:n])
	if bad == nil && size == 0 && cl.fin { // everything before the FIN has arrived
		bad = errHeaderShort
	}
	if bad != nil {
		c.finishFor(l, BadProxyHeader, byRST, bad)
		return
	}
	if size > 0 {
		c.takeHeader(l, size, n)
	}
}

// takeHeader takes a header of size bytes, of n that have been seen, and sends
// c on its way to the master. The hold timeout begins here.
func (c *conn) takeHeader(l *loop, size, n int) {
	cl := &c.sides[client]
	if got, err := sock.Receive(int(cl.fd), l.scratch[:size]); err != nil || got != size { // it was there: a RST has come
		c.finish(l, ClientReset, byRST)
		return
	}
	o, err := proxyproto.Decode(l.scratch[:size])
	if err != nil {
		c.finishFor(l, BadProxyHeader, byRST, err)
		return
	}
	c.origin = o
	// As after any read that was short (copyThrough): nothing was behind it.
	if n == size && !cl.fin && !cl.urgent {
		cl.readable = false
	}
	c.waitingSince = l.clock.now()
	c.state = arrived
	c.dialInOrder(l)
}

// headerTimedOut ends a client whose time for a header is up. After waitsAfter
// it counts as waiting: clients that say nothing would fill every slot.
func (c *conn) headerTimedOut(l *loop) {
	at := c.headerDeadline(l)
	switch {
	case l.now >= at:
		c.finishFor(l, BadProxyHeader, byRST, errHeaderLate)
	case c.startWaiting(l):
		l.timers.arm(c.index, at)
	default:
		c.finish(l, HoldOverflow, byRST)
	}
}

// sendHeader sends the master the header of c: before any byte of the client,
// with those in one segment where they are there, and at once when the client waits
// for the master to speak first. It reports whether c still lives.
func (c *conn) sendHeader(l *loop) bool {
	b, err := c.headerFor(c.label.settings.SendProxy)
	if err != nil {
		l.log.Error().Err(err).Uint64("conn", c.id).Msg("client connection lost")
		c.finish(l, Internal, byRST)
		return false
	}
	if c.fenced(l) {
		return true // the cut is on its way
	}
	m, cl := &c.sides[master], &c.sides[client]
	send := sock.Send
	if cl.readable && !cl.urgent { // the relaying that follows sends something, or the end
		send = sock.SendFirstOf
	}
	sent, err := send(int(m.fd), b)
	if err != nil && err != sock.ErrAgain {
		c.finish(l, brokenReason(c, master), byRST) // no byte of the client has been read
		return false
	}
	if sent < len(b) {
		m.writable = false
		c.flows[up].rest = l.leftovers.keep(b[sent:])
	}
	return true
}

// headerFor names the client as its own header did, else as its socket does:
// what a LOCAL or UNKNOWN header said of nobody is on behalf of the peer.
func (c *conn) headerFor(v proxyproto.Version) ([]byte, error) {
	var o proxyproto.Origin
	if c.origin != nil {
		o = *c.origin
	} else {
		local, err := sock.LocalAddress(int(c.sides[client].fd))
		if err != nil {
			return nil, err
		}
		o = proxyproto.Origin{Source: c.peer(), Destination: local}
	}
	return proxyproto.Encode(v, o,
		pires.TLV{Type: pires.PP2_TYPE_UNIQUE_ID, Value: strconv.AppendUint(nil, c.id, 10)},
		pires.TLV{Type: proxyproto.TLVLabel, Value: []byte(c.label.name)},
		pires.TLV{Type: proxyproto.TLVEpoch, Value: strconv.AppendUint(nil, c.epoch.number, 10)})
}
