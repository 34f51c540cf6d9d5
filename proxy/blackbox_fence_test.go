package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/proxy"
)

// wantNoSockets asks the kernel: right now, no connection to addrs is open or being made.
func wantNoSockets(t testing.TB, addrs ...netip.AddrPort) {
	t.Helper()
	if n := countSockets(t, nil, addrs...); n != 0 {
		t.Errorf("connections to earlier masters %v: got %d; want 0", addrs, n)
	}
}

// TestFailoverResetsEveryConnectionBeforeItReturns has far more of them than a
// shard closes at a time, and leaves a processor to the caller, to see it early.
func TestFailoverResetsEveryConnectionBeforeItReturns(t *testing.T) {
	noLeaks(t)
	c := config()
	c.Shards = 1
	r := newProxy(t, c)
	old, young := newMaster(t, nil), newMaster(t, nil)
	r.set(old.addr)
	const connections = 1600
	clients, servers := r.pairs(old, connections)

	cut := r.set(young.addr)
	if active := r.Active(); active != 0 { // first, for the kernel's list takes a while
		t.Errorf("active when SetMaster returned: got %d; want 0", active)
	}
	wantNoSockets(t, old.addr)
	for i := range clients {
		wantEnd(t, "client", clients[i], byRST)
		wantEnd(t, "old master", servers[i], byRST)
	}
	r.wantClosed(map[proxy.Reason]uint64{proxy.Failover: connections})
	if cut.Dropped != connections || cut.Carried != 0 || cut.ID == "" || cut.Label != "default" ||
		cut.From != old.addr.String() || cut.To != young.addr.String() {
		t.Errorf("cut: got %+v; want %d dropped from %v to %v", cut, connections, old.addr, young.addr)
	}
	old.wantNone()
	client, server := r.pair(young)
	relays(t, client, server)
}

// pairs connects n clients and returns all ends, in no common order, when
// something has passed each way between all of them.
func (r *relay) pairs(m *master, n int) (clients, servers []*net.TCPConn) {
	r.t.Helper()
	for range n {
		clients = append(clients, r.dial())
	}
	for _, c := range clients {
		write(r.t, c, "up")
	}
	for range n {
		server := m.next()
		wantText(r.t, server, "up")
		write(r.t, server, "down")
		servers = append(servers, server)
	}
	for _, c := range clients {
		wantText(r.t, c, "down")
	}
	return clients, servers
}

// TestFailoverCutsStreamsAndHalfClosedConnections cuts connections in every
// state of relaying: streaming, stalled with a full pipe, half-closed.
func TestFailoverCutsStreamsAndHalfClosedConnections(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	old, young := newMaster(t, nil), newMaster(t, nil)
	r.set(old.addr)

	var streams, stalls errgroup.Group
	var ends []*net.TCPConn
	for i := range 12 {
		client, server := r.pair(old)
		ends = append(ends, client, server)
		switch i % 4 {
		case 0: // streaming both ways
			streams.Go(func() error { return streamUntilReset(client) })
			streams.Go(func() error { return streamUntilReset(server) })
		case 1:
			stalls.Go(func() error { _, err := sendUntilBlocked(client, &pattern{}, atOnce(1<<17)); return err })
		case 2:
			stalls.Go(func() error { _, err := sendUntilBlocked(server, &pattern{}, atOnce(1<<17)); return err })
		case 3:
			halfCloseOne(t, client, server)
		}
	}
	if err := stalls.Wait(); err != nil {
		t.Fatal(err)
	}
	cut := r.set(young.addr)
	wantNoSockets(t, old.addr)
	if err := streams.Wait(); err != nil {
		t.Error(err)
	}
	for i, c := range ends {
		if i/2%4 == 0 {
			continue // has read its reset above
		}
		if i/2%4 == 3 && i%2 == 1 {
			continue // has read its end of file already
		}
		if data, how := ending(c); how != byRST {
			t.Errorf("end %d: got %d bytes, then %s; want %s", i, len(data), how, byRST)
		}
	}
	if cut.Dropped != 12 {
		t.Errorf("dropped: got %d; want 12", cut.Dropped)
	}
	r.wantClosed(map[proxy.Reason]uint64{proxy.Failover: 12})
	waitEqual(t, "pipes in use", 0, func() int { return r.state().PipesInUse })
}

// streamUntilReset reads and writes at once. The kernel tells of a reset only
// once: to the one or to the other.
func streamUntilReset(c *net.TCPConn) error {
	const endless = 1 << 40
	var g errgroup.Group
	var sent, received error
	g.Go(func() error { sent = send(c, &pattern{}, endless, atOnce(1<<18)); return nil })
	g.Go(func() error { received = receive(c, &pattern{}, endless, atOnce(1<<18)); return nil })
	g.Wait()
	if wasCut(sent) && (wasCut(received) || errors.Is(received, io.EOF)) {
		return nil
	}
	return fmt.Errorf("stream over a failover: got %v, %v; want a reset", sent, received)
}

// TestNoByteReachesTheOldMasterAfterTheCut: what waits in the proxy and in its
// sockets for a master that was slow to read is dropped, not delivered.
func TestNoByteReachesTheOldMasterAfterTheCut(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	old, young := newMaster(t, nil), newMaster(t, nil)
	r.set(old.addr)
	for _, size := range []int{100, 1 << 17} { // copied, spliced
		client, server := r.pair(old)
		server.SetReadBuffer(8 << 10)
		sent, err := sendUntilBlocked(client, &pattern{}, atOnce(size))
		if err != nil {
			t.Fatal(err)
		}
		there := queued(t, server)
		r.set(young.addr)
		if n := queued(t, server); n != there {
			t.Errorf("bytes at the old master over the cut: got %d more; want none", n-there)
		}
		wantEnd(t, "client", client, byRST)
		data, how := ending(server)
		if len(data) != there || how != byRST {
			t.Errorf("old master reads: got %d bytes, then %s; want the %d of %d that it had, then %s",
				len(data), how, there, sent, byRST)
		}
		r.set(old.addr)
	}
}

// queued is the number of bytes that c could read at once.
func queued(t *testing.T, c *net.TCPConn) (n int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	if err != nil {
		t.Fatalf("read the length of a socket's queue: %v", err)
	}
	return n
}

func TestDialInFlightDiesWithItsEpoch(t *testing.T) {
	noLeaks(t)
	c := config()
	c.ConnectTimeout = 2 * testTimeout
	r := newProxy(t, c)
	hung, callers := newHungMaster(t)
	r.set(hung)
	clients := make([]*net.TCPConn, 20)
	for i := range clients {
		clients[i] = r.dial()
	}
	r.waitState("dialing", len(clients))
	if n := callers(); n != len(clients) {
		t.Fatalf("dials in flight: got %d; want %d", n, len(clients))
	}

	cut := r.set(newMaster(t, announce('Y')).addr)
	if n := callers(); n != 0 {
		t.Errorf("dials in flight to the previous master: got %d; want 0", n)
	}
	if cut.Carried != len(clients) || cut.Dropped != 0 {
		t.Errorf("carried, dropped: got %d, %d; want %d, 0", cut.Carried, cut.Dropped, len(clients))
	}
	for _, c := range clients {
		wantText(t, c, "Y")
	}
	r.wantClosed(nil)
}

// TestClientThatWaitsForAMasterThatRefusesIsCarried is in the backoff between two dials.
func TestClientThatWaitsForAMasterThatRefusesIsCarried(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	refuses, _ := newRefusingMaster(t)
	r.set(refuses)
	client := r.dial()
	write(t, client, "first")
	waitUntil(t, "a dial has failed", func() bool { return r.state().DialFailures > 0 })
	young := newMaster(t, nil)
	if cut := r.set(young.addr); cut.Carried != 1 || cut.Dropped != 0 {
		t.Errorf("carried, dropped: got %d, %d; want 1, 0", cut.Carried, cut.Dropped)
	}
	server := young.next()
	wantText(t, server, "first")
	relays(t, client, server)
}

func TestCutByFINEndsClientsInOrderAndResetsTheMaster(t *testing.T) {
	noLeaks(t)
	c := config()
	c.DropFIN = true
	r := newProxy(t, c)
	old, young := newMaster(t, nil), newMaster(t, nil)
	r.set(old.addr)
	client, server := r.pair(old)
	relays(t, client, server)
	r.set(young.addr)
	wantNoSockets(t, old.addr)
	wantEnd(t, "client", client, byFIN)
	wantEnd(t, "old master", server, byRST)
	r.wantClosed(map[proxy.Reason]uint64{proxy.Failover: 1})
}

// TestCutByFINResetsAClientThatWaitsForAnAnswer: it has ended, and FIN would be the
// end of the answer.
func TestCutByFINResetsAClientThatWaitsForAnAnswer(t *testing.T) {
	noLeaks(t)
	c := config()
	c.DropFIN = true
	r := newProxy(t, c)
	old, young := newMaster(t, nil), newMaster(t, nil)
	r.set(old.addr)
	client, server := r.pair(old)
	relays(t, client, server)
	halfCloseOne(t, client, server)
	r.set(young.addr)
	wantEnd(t, "client", client, byRST)
}

// TestOnlyAFailoverCutsByFIN: what an operator or a drain's deadline ends is reset,
// whatever a failover does.
func TestOnlyAFailoverCutsByFIN(t *testing.T) {
	noLeaks(t)
	for name, end := range map[string]func(*relay) error{
		"kill": func(r *relay) error { _, err := r.Kill(""); return err },
		"deadline": func(r *relay) error {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			if err := r.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
				return fmt.Errorf("shutdown: got %v; want %w", err, context.DeadlineExceeded)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := config()
			c.DropFIN = true
			r := newProxy(t, c)
			m := newMaster(t, nil)
			r.set(m.addr)
			client, server := r.pair(m)
			relays(t, client, server)
			if err := end(r); err != nil {
				t.Fatal(err)
			}
			wantEnd(t, "client", client, byRST)
			wantEnd(t, "master", server, byRST)
		})
	}
}

// TestCutByFINIsNoResetWhereBytesWereNotRead: a socket that is closed with
// some is reset by the kernel (RFC 2525, 2.17).
func TestCutByFINIsNoResetWhereBytesWereNotRead(t *testing.T) {
	noLeaks(t)
	c := config()
	c.DropFIN = true
	r := newProxy(t, c)
	old, young := newMaster(t, nil), newMaster(t, nil)
	r.set(old.addr)
	client, server := r.pair(old)
	server.SetReadBuffer(8 << 10)
	r.fillUp(client)
	r.set(young.addr)
	wantEnd(t, "client", client, byFIN)
	r.wantClosed(map[proxy.Reason]uint64{proxy.Failover: 1})
}

// fillUp has client, the only one, send to a master that reads nothing, until
// bytes of it stay in the proxy's socket unread.
func (r *relay) fillUp(client *net.TCPConn) {
	r.t.Helper()
	const chunk = 32 << 10
	sent := 0
	waitUntil(r.t, "bytes that the proxy does not read", func() bool {
		if r.state().BytesUp == uint64(sent) {
			if err := send(client, &pattern{at: sent}, chunk, atOnce(chunk)); err != nil {
				r.t.Fatal(err)
			}
			sent += chunk
		}
		unread := unreadBy(r.t, client)
		for range 2 { // what can be read is, in an iteration of the loop
			if err := r.Heartbeat(r.t.Context()); err != nil {
				r.t.Fatal(err)
			}
		}
		return unread > 0 && unreadBy(r.t, client) == unread
	})
}

// unreadBy is the number of bytes that wait in the socket at the other end of c.
func unreadBy(t testing.TB, c *net.TCPConn) uint32 {
	t.Helper()
	local, remote := c.LocalAddr().(*net.TCPAddr).AddrPort(), c.RemoteAddr().(*net.TCPAddr).AddrPort()
	for _, s := range kernelSockets(t) {
		if s.local == remote && s.remote == local {
			return s.unread
		}
	}
	t.Fatalf("the other end of %v is not open", local)
	return 0
}

func TestLabelsFailOverOnTheirOwn(t *testing.T) {
	noLeaks(t)
	c := config()
	c.Listeners = []proxy.Listener{{Label: "a", Address: "127.0.0.1:0"}, {Label: "b", Address: "127.0.0.1:0"}}
	r := newProxy(t, c)
	ma, mb, young := newMaster(t, nil), newMaster(t, nil), newMaster(t, nil)
	r.SetMaster("a", proxy.Master{Address: ma.addr})
	r.SetMaster("b", proxy.Master{Address: mb.addr})
	ca, cb := r.dialLabel("a"), r.dialLabel("b")
	sa, sb := ma.next(), mb.next()
	relays(t, ca, sa)
	relays(t, cb, sb)

	if cut := r.SetMaster("a", proxy.Master{Address: young.addr}); cut.Dropped != 1 || cut.Label != "a" {
		t.Errorf("cut: got %d dropped of %q; want 1 of a", cut.Dropped, cut.Label)
	}
	wantEnd(t, "client of a", ca, byRST)
	relays(t, cb, sb)
	if s := r.label("b"); s.Closed[proxy.Failover] != 0 || s.Active != 1 {
		t.Errorf("label b: got %d cut, %d active; want 0, 1", s.Closed[proxy.Failover], s.Active)
	}
	r.Lose("b", proxy.Loss{})
	relays(t, r.dialLabel("a"), young.next())
	held := r.dialLabel("b")
	waitEqual(t, "held of b", 1, func() int { return r.label("b").Held })
	if held := r.label("a").Held; held != 0 {
		t.Errorf("held of a: got %d; want 0", held)
	}
	held.Close()
}

// TestEpochGrowsByOneWithEachChange, and everything that tells of a failover tells the same.
func TestEpochGrowsByOneWithEachChange(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	a, b := newMaster(t, echo), newMaster(t, echo)
	begin := r.state().Epoch
	ids := make(map[string]bool)
	r.set(a.addr)
	base := r.state().Failovers
	for i := range 6 {
		to := []netip.AddrPort{b.addr, a.addr}[i%2]
		seen := time.Now().Add(-time.Hour)
		cut := r.SetMaster("default", proxy.Master{Address: to, ServiceID: "s", Seen: seen})
		s := r.state()
		if want := begin + 2 + uint64(i); cut.Epoch != want || s.Epoch != want {
			t.Errorf("epoch of cut, of label: got %d, %d; want %d", cut.Epoch, s.Epoch, want)
		}
		if cut.ID == "" || ids[cut.ID] {
			t.Errorf("id: got %q; want a new one", cut.ID)
		}
		ids[cut.ID] = true
		if cut.Detect < time.Hour || cut.Detect > 2*time.Hour {
			t.Errorf("detect: got %v; want about an hour", cut.Detect)
		}
		if s.LastFailover == nil || s.LastFailover.ID != cut.ID || s.LastFailover.Duration != cut.Duration {
			t.Errorf("last failover: got %+v; want %+v", s.LastFailover, cut)
		}
		if s.Master.Address != to || s.Since.Before(cut.At.Add(-time.Second)) {
			t.Errorf("master since: got %v, %v; want %v, about %v", s.Master.Address, s.Since, to, cut.At)
		}
	}
	s := r.state()
	if s.Failovers != base+6 || total(s.Fence) != s.Failovers || total(s.Cut) != s.Failovers {
		t.Errorf("failovers counted: got %d, in histograms %d and %d; want %d each",
			s.Failovers, total(s.Fence), total(s.Cut), base+6)
	}
}

func total(h proxy.Histogram) (n uint64) {
	for _, c := range h.Counts {
		n += c
	}
	return n
}
