package discovery

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"
)

// newTransport makes the transport of requests to one Consul address. It is not the library's:
// that one honours HTTP_PROXY, where Consul never is, and is replaced for
// unix:// addresses. HTTP/2 stays off, since a context's end then closes no
// connection, and one that is dead would carry every later request too.
func newTransport(e endpoint, t *tlsSource, d *dialer) *http.Transport {
	dial := dialFunc(d.dial)
	if e.socket != "" {
		dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", e.socket)
		}
	}
	return &http.Transport{
		Proxy:                  nil,
		DialContext:            dial,
		DialTLSContext:         t.over(dial),
		MaxIdleConnsPerHost:    16,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// dialer connects to one host. Where its name stands for several servers it
// begins with another one after each call of rotate: operators put all their
// Consul servers behind one name, and a server that accepts and then hangs
// would otherwise be dialled again for ever.
type dialer struct {
	lookup    lookupFunc
	rotations atomic.Uint32
}

// rotate makes the next connection go to another address of the name.
func (d *dialer) rotate() { d.rotations.Add(1) }

func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	const oneAttempt = 2 * time.Second
	nd := net.Dialer{Timeout: oneAttempt}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return nd.DialContext(ctx, network, address)
	}
	addrs, err := d.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	if len(addrs) == 0 {
		return nil, errors.New("resolve " + host + ": it has no address")
	}
	first := int(d.rotations.Load()) % len(addrs)
	var failed error
	for i := range addrs {
		addr := addrs[(first+i)%len(addrs)]
		c, err := nd.DialContext(ctx, network, net.JoinHostPort(addr.String(), port))
		if err == nil {
			return c, nil
		}
		failed = err
		if ctx.Err() != nil {
			break
		}
	}
	return nil, failed
}
