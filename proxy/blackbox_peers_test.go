package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// master is a server that the proxy connects to.
type master struct {
	t     testing.TB
	addr  netip.AddrPort
	ln    *net.TCPListener
	conns chan *net.TCPConn // accepted, for next; nil when a handler serves them

	mu   sync.Mutex
	open map[*net.TCPConn]struct{}
	wg   sync.WaitGroup
}

// newMaster listens until the test ends and serves each connection in a
// goroutine; without a handler the test takes them from next.
func newMaster(t testing.TB, handler func(*net.TCPConn)) *master {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen for a master: %v", err)
	}
	return startMaster(t, ln.(*net.TCPListener), handler)
}

func startMaster(t testing.TB, ln *net.TCPListener, handler func(*net.TCPConn)) *master {
	m := &master{t: t, addr: ln.Addr().(*net.TCPAddr).AddrPort(), ln: ln, open: make(map[*net.TCPConn]struct{})}
	if handler == nil {
		m.conns = make(chan *net.TCPConn, 1024)
	}
	m.wg.Go(func() { m.acceptLoop(handler) })
	t.Cleanup(func() {
		ln.Close()
		m.mu.Lock()
		for c := range m.open {
			c.Close()
		}
		m.mu.Unlock()
		m.wg.Wait()
	})
	return m
}

func (m *master) acceptLoop(handler func(*net.TCPConn)) {
	for {
		c, err := m.ln.AcceptTCP()
		if err != nil {
			return
		}
		c.SetDeadline(time.Now().Add(2 * testTimeout))
		m.mu.Lock()
		m.open[c] = struct{}{}
		m.mu.Unlock()
		if handler == nil {
			m.conns <- c
			continue
		}
		m.wg.Go(func() {
			handler(c)
			c.Close()
			m.mu.Lock()
			delete(m.open, c)
			m.mu.Unlock()
		})
	}
}

// next is the next connection that the proxy made.
func (m *master) next() *net.TCPConn {
	m.t.Helper()
	select {
	case c := <-m.conns:
		return c
	case <-time.After(testTimeout):
		m.t.Fatalf("connections to master %v: got none in %v; want one", m.addr, testTimeout)
		return nil
	}
}

// wantNone fails when the proxy has connected.
func (m *master) wantNone() {
	m.t.Helper()
	select {
	case c := <-m.conns:
		m.t.Fatalf("connections to master %v: got one from %v; want none", m.addr, c.RemoteAddr())
	default:
	}
}

// echo sends back what it reads and closes when the other side has.
func echo(c *net.TCPConn) { io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c}) }

// announce says who it is, in one byte, and then echoes.
func announce(name byte) func(*net.TCPConn) {
	return func(c *net.TCPConn) {
		if _, err := c.Write([]byte{name}); err == nil {
			echo(c)
		}
	}
}

// newHungMaster listens, never accepts, and has its backlog full: a connect to
// it gets no answer. It returns a count of the other sockets connected or
// connecting to it.
func newHungMaster(t testing.TB) (addr netip.AddrPort, callers func() int) {
	t.Helper()
	fd, addr := boundSocket(t)
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatalf("listen: %v", err)
	}
	own := make(map[netip.AddrPort]bool)
	for _, c := range fillBacklog(t, addr) {
		own[c.LocalAddr().(*net.TCPAddr).AddrPort()] = true
	}
	return addr, func() int { return countSockets(t, own, addr) }
}

// fillBacklog connects to a listener that does not accept until it answers no
// more, and keeps the connections until the test ends.
func fillBacklog(t testing.TB, addr netip.AddrPort) (own []net.Conn) {
	t.Helper()
	for range 16 {
		c, err := net.DialTimeout("tcp", addr.String(), 300*time.Millisecond)
		if err != nil {
			return own
		}
		own = append(own, c)
		t.Cleanup(func() { c.Close() })
	}
	t.Fatalf("backlog of %v does not fill", addr)
	return nil
}

// newRefusingMaster holds an address on which nothing listens, until open.
func newRefusingMaster(t testing.TB) (addr netip.AddrPort, open func(handler func(*net.TCPConn)) *master) {
	t.Helper()
	fd, addr := boundSocket(t)
	f := os.NewFile(uintptr(fd), "bound")
	t.Cleanup(func() { f.Close() })
	return addr, func(handler func(*net.TCPConn)) *master {
		t.Helper()
		if err := unix.Listen(fd, 128); err != nil {
			t.Fatalf("listen: %v", err)
		}
		ln, err := net.FileListener(f)
		if err != nil {
			t.Fatalf("listener of a socket: %v", err)
		}
		f.Close()
		return startMaster(t, ln.(*net.TCPListener), handler)
	}
}

// boundSocket is a socket with an address, so that nobody else can take it.
func boundSocket(t testing.TB) (int, netip.AddrPort) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("socket: %v", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatalf("bind: %v", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatalf("getsockname: %v", err)
	}
	in4 := name.(*unix.SockaddrInet4)
	return fd, netip.AddrPortFrom(netip.AddrFrom4(in4.Addr), uint16(in4.Port))
}

// dial connects a client to the label "default".
func (r *relay) dial() *net.TCPConn { r.t.Helper(); return r.dialLabel("default") }

func (r *relay) dialLabel(label string) *net.TCPConn {
	r.t.Helper()
	c, err := dialTCP(r.addrs[label])
	if err != nil {
		r.t.Fatalf("dial the proxy: %v", err)
	}
	r.t.Cleanup(func() { c.Close() })
	return c
}

func dialTCP(addr string) (*net.TCPConn, error) {
	c, err := net.DialTimeout("tcp", addr, testTimeout)
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Now().Add(2 * testTimeout))
	return c.(*net.TCPConn), nil
}

// pair connects a client and returns both ends.
func (r *relay) pair(m *master) (client, server *net.TCPConn) {
	r.t.Helper()
	client = r.dial()
	return client, m.next()
}

// relays fails the test unless what goes in at either end comes out at the other.
func relays(t testing.TB, client, server *net.TCPConn) {
	t.Helper()
	passes(t, client, server, "up")
	passes(t, server, client, "down")
}

// passes writes text on from and reads it on to.
func passes(t testing.TB, from, to *net.TCPConn, text string) {
	t.Helper()
	write(t, from, text)
	wantText(t, to, text)
}

func write(t testing.TB, c *net.TCPConn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatalf("write: %v", err)
	}
}

// wantText reads exactly text.
func wantText(t testing.TB, c *net.TCPConn, text string) {
	t.Helper()
	got := make([]byte, len(text))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Fatalf("read: got %q, %v; want %q", got[:n], err, text)
	}
}

// The ways in which a connection ends, as its reader sees them.
const (
	byFIN = "end of file"
	byRST = "reset"
)

// ending reads c to its end and says what came and how it ended.
func ending(c *net.TCPConn) (data []byte, how string) {
	data, err := io.ReadAll(c)
	switch {
	case err == nil:
		return data, byFIN
	case errors.Is(err, syscall.ECONNRESET):
		return data, byRST
	default:
		return data, err.Error()
	}
}

// wantEnd reads c until it ends the way it should, with no more data before.
func wantEnd(t testing.TB, who string, c *net.TCPConn, want string) {
	t.Helper()
	data, how := ending(c)
	if how != want || len(data) > 0 {
		t.Fatalf("end of the %s's connection: got %d bytes, then %s; want none, then %s", who, len(data), how, want)
	}
}

// reset ends c by RST.
func reset(t testing.TB, c *net.TCPConn) {
	t.Helper()
	if err := errors.Join(c.SetLinger(0), c.Close()); err != nil {
		t.Fatalf("reset a connection: %v", err)
	}
}

// ask sends one byte and returns an error unless it comes back.
func ask(c *net.TCPConn) error {
	b := []byte{'?'}
	if _, err := c.Write(b); err != nil {
		return err
	}
	b[0] = 0
	if _, err := io.ReadFull(c, b); err != nil {
		return err
	}
	if b[0] != '?' {
		return fmt.Errorf("echo: got %q; want %q", b, "?")
	}
	return nil
}
