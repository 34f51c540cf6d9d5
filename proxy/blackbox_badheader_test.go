package proxy_test

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/proxy"
)

// Headers that are refused, peers that may send none, and what the log says of it.

func TestWrongHeaderIsResetAtOnceAndCounted(t *testing.T) {
	noLeaks(t)
	log := &lines{}
	r := newLogging(t, accepting(), zerolog.New(log))
	m := newMaster(t, nil)
	r.set(m.addr)
	wrong := []string{
		"GET / HTTP/1.1\r\n", "PROXY TCP4 192.0.2.1\r\n", "PROXY " + strings.Repeat("x", 101), headerV1[:len(headerV1)-2] + "\n",
		"\r\n\r\n\x00\r\nQUIT\n\x31", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x20\x00", "\r\n\r\n\x00\r\nQUIT\n\x21\x41\x00\x00", "x",
	}
	for _, header := range wrong {
		client := r.dial()
		write(t, client, header)
		wantEnd(t, fmt.Sprintf("sender of %q", header), client, byRST)
	}
	r.wantClosed(map[proxy.Reason]uint64{proxy.BadProxyHeader: uint64(len(wrong))})
	if strings.Contains(log.String(), "no whole header") {
		t.Errorf("refused only when it was late:\n%s", log)
	}
	m.wantNone()
}

func TestHeaderThatIsLateIsReset(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, accepting()) // with the header timeout of production
	r.set(newMaster(t, echo).addr)
	begin := time.Now()
	silent, half := r.dial(), r.dial()
	write(t, half, headerV1[:20])
	wantEnd(t, "silent client", silent, byRST)
	wantEnd(t, "client with half a header", half, byRST)
	if waited := time.Since(begin); waited < headerTimeout {
		t.Errorf("waited %v for a header; want at least %v", waited, headerTimeout)
	}
	r.wantClosed(map[proxy.Reason]uint64{proxy.BadProxyHeader: 2})
}

func TestClientThatEndsWithinItsHeader(t *testing.T) {
	noLeaks(t)
	log := &lines{}
	r := newLogging(t, accepting(), zerolog.New(log))
	r.set(newMaster(t, echo).addr)

	probe := r.dial() // as balancers check ports
	r.waitState("header", 1)
	probe.Close()
	r.wantClosed(map[proxy.Reason]uint64{proxy.ClientClosed: 1})

	half := r.dial()
	write(t, half, headerV1[:10])
	if err := half.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, "client with half a header", half, byRST)
	r.wantClosed(map[proxy.Reason]uint64{proxy.ClientClosed: 1, proxy.BadProxyHeader: 1})
	if !strings.Contains(log.String(), "ended within the header") { // not when it was late
		t.Errorf("got log\n%s; want the end of the connection as the fault", log)
	}

	gone := r.dial()
	write(t, gone, headerV1[:10])
	r.waitState("header", 1)
	reset(t, gone)
	r.wantClosed(map[proxy.Reason]uint64{proxy.ClientClosed: 1, proxy.BadProxyHeader: 1, proxy.ClientReset: 1})
}

func TestUntrustedPeerIsResetBeforeAnythingIsRead(t *testing.T) {
	noLeaks(t)
	c := accepting("192.0.2.0/24", "::1/128", "127.0.0.2/32")
	c.Listeners[0].Address = "[::]:0" // peers over IPv4 come as mapped addresses
	r := newAccepting(t, c)
	m := newMaster(t, echo)
	r.set(m.addr)
	port := netip.MustParseAddrPort(r.addrs["default"]).Port()
	r.addrs["default"] = fmt.Sprintf("127.0.0.1:%d", port)
	r.wantReset(3)
	r.wantClosed(map[proxy.Reason]uint64{proxy.UntrustedPeer: 3})
	if s := r.state(); s.Accepted != 3 || s.Active != 0 {
		t.Errorf("accepted, active: got %d, %d; want 3, 0", s.Accepted, s.Active)
	}

	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}, Timeout: testTimeout}
	trusted, err := d.Dial("tcp4", r.addrs["default"])
	if err != nil {
		t.Fatal(err)
	}
	defer trusted.Close()
	write(t, trusted.(*net.TCPConn), headerV1)
	if err := ask(trusted.(*net.TCPConn)); err != nil {
		t.Errorf("trusted peer: %v", err)
	}
}

// lines is a log that can be read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestLogNamesTheSourceAndTheFaultOfAHeader: and what a stranger sent is in no line.
func TestLogNamesTheSourceAndTheFaultOfAHeader(t *testing.T) {
	noLeaks(t)
	log := &lines{}
	r := newLogging(t, accepting(), zerolog.New(log).Level(zerolog.DebugLevel))
	r.set(newMaster(t, echo).addr)
	client := r.dial()
	write(t, client, headerV1)
	if err := ask(client); err != nil {
		t.Fatal(err)
	}
	client.Close()
	r.waitActive(0)
	bad := r.dial()
	write(t, bad, "GET / HTTP/1.1\r\n")
	wantEnd(t, "stranger", bad, byRST)
	r.waitActive(0)
	var closed []string
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, `"connection closed"`) {
			closed = append(closed, line)
		}
		if strings.Contains(line, "GET /") {
			t.Errorf("a stranger writes into the log: %s", line)
		}
	}
	if len(closed) != 2 {
		t.Fatalf("lines of closed connections: got %d; want 2", len(closed))
	}
	for i, want := range []string{
		`"source":"192.0.2.1:4711"`,
		`"reason":"bad_proxy_header","error":"no PROXY protocol header"`,
	} {
		if !strings.Contains(closed[i], want) || !strings.Contains(closed[i], `"level":"debug"`) || strings.Contains(closed[i], `_ms":-`) {
			t.Errorf("got %s; want %s at debug, and no negative time", closed[i], want)
		}
	}
	if !strings.Contains(closed[1], `"held_ms":0,`) {
		t.Errorf("got %s; want held_ms 0", closed[1])
	}
}
