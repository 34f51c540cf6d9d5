package consul

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/rosproxy/rosproxy/discovery/internal/hostname"
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
		// A thousand masters take an agent 8 ms more to compress, and the agent
		// is near as a rule.
		DisableCompression: true,
	}
}

// maxBody is the most that is read of one answer. A thousand masters with their
// checks are 1 MiB, and 3 MiB from a dev agent, which indents; what a check says
// of itself may be 4 KiB more (agent/checks: DefaultBufSize).
const maxBody = 32 << 20

// wholeAnswers is a transport that reads each answer to its end, within the time
// of the request, and fails where it is longer than maxBody.
type wholeAnswers struct{ next *http.Transport }

// exchange is what became of a request, beside what Consul's client says of it.
type exchange struct {
	// takesBody: the body of a 200 is in body alone, and the client is given an
	// empty list: it decodes with encoding/json and all there is of an instance,
	// 20 ms for a thousand masters instead of 5, and of a write it is content with
	// any "true".
	takesBody bool
	status    int
	body      []byte
}

type exchangeKey struct{}

func (x *exchange) in(ctx context.Context) context.Context {
	return context.WithValue(ctx, exchangeKey{}, x)
}

// RoundTrip implements http.RoundTripper.
func (t wholeAnswers) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() // without reading on: what is left may be endless
	body, err := readWhole(resp)
	if err != nil {
		return nil, err
	}
	if x, ok := req.Context().Value(exchangeKey{}).(*exchange); ok {
		x.status = resp.StatusCode
		if x.takesBody && resp.StatusCode == http.StatusOK {
			x.body, body = body, []byte("[]")
		}
	}
	// The client reads one value and does not look at what comes behind it.
	if resp.StatusCode == http.StatusOK && !json.Valid(body) {
		return nil, errors.New("understand the answer: it is not JSON from its beginning to its end")
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	makeLegible(resp.Header)
	return resp, nil
}

// makeLegible has Consul's client read all that the headers say of an answer. It
// reads them in turn, stops at a number that it cannot read, and tells nobody
// (parseQueryMeta in api/api.go): without X-Consul-LastContact, which not
// everything between us and Consul hands on, an answer that ACLs have filtered
// seems whole, and its emptiness proves that there is no master.
func makeLegible(h http.Header) {
	for _, of := range []struct {
		name    string
		bits    int
		instead string
	}{
		{"X-Consul-Index", 64, ""}, {"X-Consul-LastContact", 63, "0"}, {"Age", 63, ""},
	} {
		if _, err := strconv.ParseUint(h.Get(of.name), 10, of.bits); err == nil {
			continue
		}
		if of.instead == "" {
			h.Del(of.name)
		} else {
			h.Set(of.name, of.instead)
		}
	}
}

// CloseIdleConnections is called by http.Client's.
func (t wholeAnswers) CloseIdleConnections() { t.next.CloseIdleConnections() }

func readWhole(resp *http.Response) ([]byte, error) {
	body := bytes.NewBuffer(make([]byte, 0, int(min(max(resp.ContentLength, 0), maxBody))+bytes.MinRead))
	n, err := body.ReadFrom(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if n > maxBody {
		return nil, fmt.Errorf("read the answer: it is longer than %d MiB", maxBody>>20)
	}
	return body.Bytes(), nil
}

// dialer connects to one host. Where its name stands for several servers it
// begins with another one after each call of rotate: operators put all their
// Consul servers behind one name, and a server that accepts and then hangs
// would otherwise be dialled again for ever.
type dialer struct {
	lookup    hostname.LookupFunc
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
