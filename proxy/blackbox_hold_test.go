package proxy_test

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rosproxy/rosproxy/proxy"
)

// wantReset connects n clients, each of which must be reset at once: so soon
// that the connect itself may already see it.
func (r *relay) wantReset(n int) {
	r.t.Helper()
	for range n {
		c, err := dialTCP(r.addrs["default"])
		if errors.Is(err, syscall.ECONNRESET) {
			continue
		}
		if err != nil {
			r.t.Fatalf("dial the proxy: %v", err)
		}
		wantEnd(r.t, "client", c, byRST)
		c.Close()
	}
}

func TestHoldTimeoutResetsAClientThatFoundNoMaster(t *testing.T) {
	noLeaks(t)
	c := config()
	c.HoldTimeout = 300 * time.Millisecond
	r := newProxy(t, c)
	begin := time.Now()
	wantEnd(t, "held client", r.dial(), byRST)
	if held := time.Since(begin); held < c.HoldTimeout {
		t.Errorf("held for %v; want at least %v", held, c.HoldTimeout)
	}
	r.wantClosed(map[proxy.Reason]uint64{proxy.NoMaster: 1})
	r.waitHeld(0)
}

func TestHoldTimeoutOfZeroResetsAtOnce(t *testing.T) {
	noLeaks(t)
	c := config()
	c.HoldTimeout = 0
	r := newProxy(t, c)
	r.wantReset(1)
	r.wantClosed(map[proxy.Reason]uint64{proxy.NoMaster: 1})

	m := newMaster(t, echo) // and with a master, one that is there is reached
	r.set(m.addr)
	if err := ask(r.dial()); err != nil {
		t.Errorf("client with a master: %v", err)
	}
}

func TestMoreThanHoldMaxAreReset(t *testing.T) {
	noLeaks(t)
	c := config()
	c.HoldMax = 3
	r := newProxy(t, c)
	held := make([]*net.TCPConn, c.HoldMax)
	for i := range held {
		held[i] = r.dial()
	}
	r.waitHeld(c.HoldMax)
	r.wantReset(1)
	r.wantClosed(map[proxy.Reason]uint64{proxy.HoldOverflow: 1})
	r.waitHeld(c.HoldMax)

	r.set(newMaster(t, echo).addr)
	for i, c := range held {
		if err := ask(c); err != nil {
			t.Errorf("held client %d: %v", i, err)
		}
	}
	r.waitHeld(0)
	r.wantClosed(map[proxy.Reason]uint64{proxy.HoldOverflow: 1})
}

func TestHeldClientThatResetsIsNoticed(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	quiet, talker := r.dial(), r.dial()
	write(t, talker, "never mind")
	r.waitHeld(2)
	reset(t, quiet)
	r.waitHeld(1)
	reset(t, talker)
	r.waitHeld(0)
	r.wantClosed(map[proxy.Reason]uint64{proxy.ClientReset: 2})
}

// TestHeldClientThatClosesWithoutAWordIsNoticed: a probe of a balancer does
// that; one that has said something may be waiting for the answer.
func TestHeldClientThatClosesWithoutAWordIsNoticed(t *testing.T) {
	noLeaks(t)
	c := config()
	c.HoldTimeout = 10 * testTimeout
	r := newProxy(t, c)
	client := r.dial()
	r.waitHeld(1)
	client.Close()
	r.waitHeld(0)
	r.waitActive(0)
	if c := r.state().Closed; c[proxy.ClientClosed]+c[proxy.ClientReset] != 1 {
		t.Errorf("closed: got %v; want 1 by the client", c)
	}
}

func TestDataSentWhileHeldArrivesFirst(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	client := r.dial()
	sent := &pattern{}
	if err := send(client, sent, 50_000, atOnce(777)); err != nil {
		t.Fatal(err)
	}
	r.waitHeld(1)
	m := newMaster(t, nil)
	r.set(m.addr)
	server := m.next()
	var g errgroup.Group
	g.Go(func() error {
		if err := send(client, sent, 5<<20, atOnce(1<<16)); err != nil {
			return err
		}
		return client.CloseWrite()
	})
	if err := receiveAll(server, &pattern{}, 50_000+5<<20, atOnce(1<<16)); err != nil {
		t.Error(err)
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

func TestMasterThatRefusesIsTriedAgainUntilHoldTimeout(t *testing.T) {
	noLeaks(t)
	c := config()
	c.HoldTimeout = time.Second
	r := newProxy(t, c)
	addr, _ := newRefusingMaster(t)
	r.set(addr)
	begin := time.Now()
	wantEnd(t, "client", r.dial(), byRST)
	if waited := time.Since(begin); waited < c.HoldTimeout {
		t.Errorf("tried for %v; want at least %v", waited, c.HoldTimeout)
	}
	r.wantClosed(map[proxy.Reason]uint64{proxy.ConnectFailed: 1})
	if n := r.state().DialFailures; n < 2 || n > 100 {
		t.Errorf("failed dials in %v: got %d; want 2 to 100", c.HoldTimeout, n)
	}
}

func TestMasterThatRefusesAtFirstIsReached(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	addr, open := newRefusingMaster(t)
	r.set(addr)
	client := r.dial()
	write(t, client, "early")
	waitUntil(t, "a dial has failed", func() bool { return r.state().DialFailures > 0 })
	server := open(nil).next()
	wantText(t, server, "early")
	relays(t, client, server)
	r.wantClosed(nil)
}

func TestConnectTimeoutBoundsOneAttempt(t *testing.T) {
	noLeaks(t)
	c := config()
	c.ConnectTimeout = 150 * time.Millisecond
	c.HoldTimeout = 2 * time.Second
	r := newProxy(t, c)
	addr, callers := newHungMaster(t)
	r.set(addr)
	client := r.dial()
	r.waitState("dialing", 1)
	wantEnd(t, "client", client, byRST)
	r.wantClosed(map[proxy.Reason]uint64{proxy.ConnectFailed: 1})
	if n := r.state().DialFailures; n < 2 || n > 20 {
		t.Errorf("attempts of %v in %v: got %d; want 2 to 20", c.ConnectTimeout, c.HoldTimeout, n)
	}
	if n := callers(); n != 0 {
		t.Errorf("sockets still connecting: got %d; want 0", n)
	}
}

// TestClientThatResetsWhileDialingIsNoticed: its dial must not be made for nothing.
func TestClientThatResetsWhileDialingIsNoticed(t *testing.T) {
	noLeaks(t)
	c := config()
	c.ConnectTimeout = testTimeout
	r := newProxy(t, c)
	addr, callers := newHungMaster(t)
	r.set(addr)
	client := r.dial()
	r.waitState("dialing", 1)
	reset(t, client)
	r.wantClosed(map[proxy.Reason]uint64{proxy.ClientReset: 1})
	waitEqual(t, "sockets still connecting", 0, callers)
}

// TestHeldClientsAreServedWhenAMasterComes holds many at once.
func TestHeldClientsAreServedWhenAMasterComes(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	clients := make([]*net.TCPConn, 200)
	for i := range clients {
		clients[i] = r.dial()
	}
	r.waitHeld(len(clients))
	for _, info := range r.Connections(proxy.Filter{}) {
		if info.State != "held" || info.Master != "" {
			t.Fatalf("held connection: got state %q, master %q; want held, none", info.State, info.Master)
		}
	}
	cut := r.set(newMaster(t, announce('A')).addr)
	if cut.Carried != len(clients) || cut.Dropped != 0 {
		t.Errorf("carried, dropped: got %d, %d; want %d, 0", cut.Carried, cut.Dropped, len(clients))
	}
	for _, c := range clients {
		wantText(t, c, "A")
	}
	r.waitHeld(0)
}

// TestMasterMayBeReachedOverIPv6 covers the other family of addresses.
func TestMasterMayBeReachedOverIPv6(t *testing.T) {
	noLeaks(t)
	ln, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("a machine without IPv6: %v", err)
	}
	m := startMaster(t, ln.(*net.TCPListener), echo)
	r := newProxy(t, config())
	r.SetMaster("default", proxy.Master{Address: netip.AddrPortFrom(netip.IPv6Loopback(), m.addr.Port())})
	client := r.dial()
	if err := ask(client); err != nil {
		t.Fatal(err)
	}
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, client)
	r.wantClosed(map[proxy.Reason]uint64{proxy.ClientClosed: 1})
}
