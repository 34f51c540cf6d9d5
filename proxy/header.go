package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	pires "github.com/pires/go-proxyproto"
)

// The headers of the PROXY protocol on their way: taken off a client's socket
// before anything else is done with it, and sent to a master before anything
// else is.

// headerTimeout is how long a client has for its header. It is the shortest
// that the specification allows for, since it covers a lost segment.
const headerTimeout = 3 * time.Second

// longestLabel keeps a header within what receivers take.
const longestLabel = 1024

var (
	errHeaderLate  = fmt.Errorf("no whole header within %v", headerTimeout)
	errHeaderShort = errors.New("the connection ended within the header")
)

// trusted are the peers that may name the source of a connection.
type trusted []netip.Prefix

// trustedOf takes prefixes of IPv4 that are written as IPv6 (::ffff:10.0.0.0/104)
// for what they mean: peers are compared as IPv4. No prefix at all is every peer.
func trustedOf(from []netip.Prefix) (trusted, error) {
	var t trusted
	for _, p := range from {
		bits := p.Bits()
		if p.Addr().Is4In6() {
			bits -= 96
		}
		if bits < 0 { // or it is the zero prefix
			return nil, fmt.Errorf("trust PROXY headers from %v: not a prefix of IPv4 or of IPv6", p)
		}
		t = append(t, netip.PrefixFrom(p.Addr().Unmap(), bits))
	}
	return t, nil
}

func (t trusted) contains(peer netip.Addr) bool {
	for _, p := range t {
		if p.Contains(peer) {
			return true
		}
	}
	return len(t) == 0
}

// awaitHeader begins to wait for c's header. It is looked for when epoll says
// that there is something to read.
func (s *shard) awaitHeader(c *conn) {
	s.setState(c, header)
	s.timers.arm(c, c.accepted+int64(s.p.headerTimeout))
}

// readHeader takes c's header off the socket, and nothing after it: the rest
// of the stream stays with the kernel, to be spliced. Until the header is whole
// it is only looked at.
func (s *shard) readHeader(c *conn) {
	cl := &c.sides[client]
	if cl.broken {
		s.finish(c, ClientReset, byRST)
		return
	}
	if !cl.readable {
		return
	}
	n, err := peek(int(cl.fd), s.scratch[:longestHeader+1]) // one more: whether there is something behind the longest
	switch {
	case err == errAgain:
		cl.readable = false
		return
	case err != nil:
		s.finish(c, ClientReset, byRST)
		return
	case n == 0: // a health check of a balancer does that, with no header
		s.finish(c, ClientClosed, byFIN)
		return
	}
	size, bad := delimit(s.scratch[:n])
	if bad == nil && size == 0 && cl.fin { // everything before the FIN has arrived
		bad = errHeaderShort
	}
	if bad != nil {
		s.finishFor(c, BadProxyHeader, byRST, bad)
		return
	}
	if size > 0 {
		s.takeHeader(c, size, n)
	}
}

// takeHeader takes a header of size bytes, of n that have been seen, and sends
// c on its way to the master. The hold timeout begins here.
func (s *shard) takeHeader(c *conn, size, n int) {
	cl := &c.sides[client]
	if got, err := receive(int(cl.fd), s.scratch[:size]); err != nil || got != size { // it was there: a RST has come
		s.finish(c, ClientReset, byRST)
		return
	}
	o, err := decode(s.scratch[:size])
	if err != nil {
		s.finishFor(c, BadProxyHeader, byRST, err)
		return
	}
	c.origin = o
	// As after any read that was short (copyThrough): nothing was behind it.
	if n == size && !cl.fin && !cl.urgent {
		cl.readable = false
	}
	c.waiting = s.p.clock()
	s.setState(c, arrived)
	s.dial(c)
}

// headerLate ends a client whose time for a header is up.
func (s *shard) headerLate(c *conn) { s.finishFor(c, BadProxyHeader, byRST, errHeaderLate) }

// announce sends the master the header of c: before any byte of the client,
// also when the client waits for the master to speak first. It tells whether c
// still lives.
func (s *shard) announce(c *conn) bool {
	b, err := s.headerFor(c)
	if err != nil {
		s.p.log.Error().Err(err).Uint64("conn", c.id).Msg("client connection lost")
		s.finish(c, Internal, byRST)
		return false
	}
	if c.fenced() {
		return true // the cut is on its way
	}
	m := &c.sides[master]
	sent, err := transmit(int(m.fd), b)
	if err != nil && err != errAgain {
		s.finish(c, brokenReason(c, master), byRST)
		return false
	}
	if sent < len(b) {
		m.writable = false
		c.flows[up].rest = s.leftovers.keep(b[sent:])
	}
	return true
}

// headerFor names the client as its own header did, else as its socket does:
// what a LOCAL or UNKNOWN header said of nobody is on behalf of the peer.
func (s *shard) headerFor(c *conn) ([]byte, error) {
	var o origin
	if c.origin != nil {
		o = *c.origin
	} else {
		local, err := localAddress(int(c.sides[client].fd))
		if err != nil {
			return nil, err
		}
		o = origin{source: c.peer, destination: local}
	}
	return encode(s.p.config.SendProxy, o,
		pires.TLV{Type: pires.PP2_TYPE_UNIQUE_ID, Value: strconv.AppendUint(nil, c.id, 10)},
		pires.TLV{Type: tlvLabel, Value: []byte(c.office.label)},
		pires.TLV{Type: tlvEpoch, Value: strconv.AppendUint(nil, c.epoch.number, 10)})
}
