package proxy_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/proxy"
)

// own serves two labels: "default", which has the settings of all, and "own".
func own(t *testing.T, c proxy.Config, of proxy.Settings) *relay {
	t.Helper()
	c.Listeners = append(c.Listeners, proxy.Listener{Label: "own", Address: "127.0.0.1:0", Settings: &of})
	p := newAccepting(t, c)
	return p
}

// lineMaster is a master that answers each line with itself, and sends the first that
// it got of each connection to got.
func lineMaster(t *testing.T) (at netip.AddrPort, got <-chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	first := make(chan string, 16)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r := bufio.NewReader(c)
				for n := 0; ; n++ {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					if n == 0 {
						first <- line
					}
					_, _ = io.WriteString(c, line)
				}
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort(), first
}

// dialTo connects to the label's listener.
func (r *relay) dialTo(label string) net.Conn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addrs[label])
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(testTimeout))
	return c
}

// endOf connects to the label's listener and gives how that ends, which may be
// before the client knows that it is connected.
func (r *relay) endOf(label string) error {
	c, err := net.Dial("tcp", r.addrs[label])
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(testTimeout))
	_, err = c.Read(make([]byte, 1))
	return err
}

// speak sends a line and waits for one.
func speak(t *testing.T, c net.Conn, line string) {
	t.Helper()
	if _, err := io.WriteString(c, line); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(c).ReadString('\n'); err != nil {
		t.Fatalf("read the answer: %v", err)
	}
}

func TestLabelHoldsForItsOwnTime(t *testing.T) {
	p := own(t, config(), proxy.Settings{HoldTimeout: 0})
	waits := p.dialTo("default")
	p.waitHeld(1)
	if err := p.endOf("own"); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v; want a reset at once", err)
	}
	m, _ := lineMaster(t)
	p.set(m)
	speak(t, waits, "served\n")
}

// Its one attempt to connect has the whole connect timeout.
func TestLabelThatDoesNotHoldConnectsAllTheSame(t *testing.T) {
	c := config()
	c.ConnectTimeout = testTimeout
	p := own(t, c, proxy.Settings{HoldTimeout: 0, ConnectTimeout: testTimeout})
	hung, _ := newHungMaster(t)
	p.SetMaster("own", proxy.Master{Address: hung})
	p.dialTo("own")
	waitEqual(t, "clients", 1, func() int { return p.label("own").Active })
	time.Sleep(100 * time.Millisecond)
	if l := p.label("own"); l.Active != 1 || l.DialFailures != 0 {
		t.Errorf("got %d clients and %d failed attempts; want the first attempt to go on", l.Active, l.DialFailures)
	}
}

func TestLabelEndsIdleConnectionsByItsOwnTime(t *testing.T) {
	p := own(t, config(), proxy.Settings{HoldTimeout: testTimeout, IdleTimeout: 2 * time.Second})
	m, _ := lineMaster(t)
	p.set(m)
	p.SetMaster("own", proxy.Master{Address: m})
	stays, ends := p.dialTo("default"), p.dialTo("own")
	speak(t, stays, "one\n")
	speak(t, ends, "one\n")
	if _, err := ends.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("idle: got %v; want FIN", err)
	}
	speak(t, stays, "two\n")
}

func TestLabelDropsInItsOwnWay(t *testing.T) {
	p := own(t, config(), proxy.Settings{HoldTimeout: testTimeout, DropFIN: true})
	m, _ := lineMaster(t)
	other, _ := lineMaster(t)
	p.set(m)
	p.SetMaster("own", proxy.Master{Address: m})
	byRST, byFIN := p.dialTo("default"), p.dialTo("own")
	speak(t, byRST, "one\n")
	speak(t, byFIN, "one\n")
	p.set(other)
	p.SetMaster("own", proxy.Master{Address: other})
	if _, err := byRST.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("cut of the label without settings: got %v; want RST", err)
	}
	if _, err := byFIN.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("cut of the label with its own: got %v; want FIN", err)
	}
}

func TestLabelHasItsOwnPROXYHeaders(t *testing.T) {
	c := config()
	c.AcceptProxy = true
	p := own(t, c, proxy.Settings{HoldTimeout: testTimeout, SendProxy: proxy.ProxyV1})
	m, got := lineMaster(t)
	p.set(m)
	p.SetMaster("own", proxy.Master{Address: m})
	speak(t, p.dialTo("default"), headerV1+"hello\n")
	if line := <-got; line != "hello\n" {
		t.Errorf("got %q from the label that takes headers; want it taken off and none sent", line)
	}
	plain := p.dialTo("own")
	speak(t, plain, "hello\n")
	if line := <-got; !strings.HasPrefix(line, "PROXY TCP4 127.0.0.1 ") {
		t.Errorf("got %q from the label that sends headers and takes none; want a header", line)
	}
}

func TestLabelTrustsItsOwnPeers(t *testing.T) {
	c := config()
	c.AcceptProxy, c.AcceptProxyFrom = true, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	p := own(t, c, proxy.Settings{HoldTimeout: testTimeout, AcceptProxy: true, AcceptProxyFrom: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	m, _ := lineMaster(t)
	p.set(m)
	speak(t, p.dialTo("default"), headerV1+"hello\n")
	if err := p.endOf("own"); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("peer that the label does not trust: got %v; want a reset", err)
	}
	if n := p.label("own").Closed[proxy.UntrustedPeer]; n != 1 {
		t.Errorf("untrusted peers: got %d; want 1", n)
	}
}

func TestLabelConnectsForItsOwnTime(t *testing.T) {
	c := config()
	c.ConnectTimeout = testTimeout
	p := own(t, c, proxy.Settings{HoldTimeout: testTimeout, ConnectTimeout: 20 * time.Millisecond})
	hung, _ := newHungMaster(t)
	p.SetMaster("own", proxy.Master{Address: hung})
	p.dialTo("own")
	waitUntil(t, "several attempts", func() bool { return p.label("own").DialFailures >= 3 })
}
