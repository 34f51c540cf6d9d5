package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/proxy"
)

func TestNewNamesTheAddressItCannotOpenAndLeavesNothingOpen(t *testing.T) {
	noLeaks(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c := config()
	c.Listeners = append(c.Listeners, proxy.Listener{Label: "b", Address: taken.Addr().String()})
	p, err := proxy.New(c, zerolog.Nop())
	if err == nil || p != nil || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Errorf("New: got %v, %v; want an error that names %v", p, err, taken.Addr())
	}
}

func TestNewRefusesWhatIsNoConfiguration(t *testing.T) {
	noLeaks(t)
	for name, listeners := range map[string][]proxy.Listener{
		"a label twice":  {{Label: "a", Address: "127.0.0.1:0"}, {Label: "a", Address: "127.0.0.1:0"}},
		"no port":        {{Label: "a", Address: "127.0.0.1"}},
		"no such port":   {{Label: "a", Address: "127.0.0.1:99999"}},
		"no such family": {{Label: "a", Address: "[::zz]:0"}},
	} {
		if p, err := proxy.New(proxy.Config{Listeners: listeners}, zerolog.Nop()); err == nil || p != nil {
			t.Errorf("New with %s: got %v, %v; want an error", name, p, err)
		}
	}
}

func TestListenerWithoutHostIsDualStack(t *testing.T) {
	noLeaks(t)
	c := config()
	c.Listeners[0].Address = ":0"
	r := newProxy(t, c)
	r.set(newMaster(t, echo).addr)
	_, port, err := net.SplitHostPort(r.addrs["default"])
	if err != nil || port == "0" {
		t.Fatalf("bound address: got %q, %v; want the port that was chosen", r.addrs["default"], err)
	}
	for _, host := range []string{"127.0.0.1", "::1"} {
		client, err := dialTCP(net.JoinHostPort(host, port))
		if err != nil {
			t.Fatalf("dial: %v", err)
		}
		if err := ask(client); err != nil {
			t.Errorf("client from %s: %v", host, err)
		}
		want := client.LocalAddr().String()
		waitUntil(t, "client "+want+" is listed under its own address", func() bool {
			for _, info := range r.Connections(proxy.Filter{}) {
				if info.Client == want {
					return true
				}
			}
			return false
		})
		client.Close()
	}
}

func TestUnknownLabelPanicsInSetMaster(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	defer func() {
		if recover() == nil {
			t.Error("SetMaster of an unknown label: returned; want a panic")
		}
	}()
	r.SetMaster("nobody's", proxy.Master{})
}

func TestKillResetsTheConnectionsOfALabel(t *testing.T) {
	noLeaks(t)
	c := config()
	c.Listeners = []proxy.Listener{{Label: "a", Address: "127.0.0.1:0"}, {Label: "b", Address: "127.0.0.1:0"}}
	r := newProxy(t, c)
	m := newMaster(t, nil)
	pairs := make(map[string][][2]*net.TCPConn)
	for _, label := range []string{"a", "b"} {
		r.SetMaster(label, proxy.Master{Address: m.addr})
		for range 5 {
			client := r.dialLabel(label)
			pairs[label] = append(pairs[label], [2]*net.TCPConn{client, m.next()})
		}
	}
	killed := func(label string, want int) {
		t.Helper()
		if n, err := r.Kill(label); n != want || err != nil {
			t.Errorf("Kill(%q): got %d, %v; want %d, nil", label, n, err, want)
		}
	}
	if n, err := r.Kill("c"); n != 0 || !errors.Is(err, proxy.ErrUnknownLabel) {
		t.Errorf("Kill of an unknown label: got %d, %v; want 0, %v", n, err, proxy.ErrUnknownLabel)
	}
	killed("a", 5)
	for _, p := range pairs["a"] {
		wantEnd(t, "client", p[0], byRST)
		wantEnd(t, "master", p[1], byRST)
	}
	for _, p := range pairs["b"] {
		relays(t, p[0], p[1])
	}
	killed("a", 0)
	killed("", 5)
	for _, label := range []string{"a", "b"} {
		if s := r.label(label); s.Closed[proxy.Killed] != 5 || s.Active != 0 {
			t.Errorf("label %s: got %d killed, %d active; want 5, 0", label, s.Closed[proxy.Killed], s.Active)
		}
	}
}

func TestConnectionsDescribesEachLiveConnection(t *testing.T) {
	noLeaks(t)
	c := config()
	c.Listeners = []proxy.Listener{{Label: "a", Address: "127.0.0.1:0"}, {Label: "b", Address: "127.0.0.1:0"}}
	r := newProxy(t, c)
	m := newMaster(t, nil)
	r.SetMaster("a", proxy.Master{Address: m.addr})
	want := make(map[string]string) // client address to label
	for range 4 {
		client := r.dialLabel("a")
		server := m.next()
		passes(t, client, server, "12345")
		passes(t, server, client, "123")
		want[client.LocalAddr().String()] = "a"
	}
	for range 3 {
		want[r.dialLabel("b").LocalAddr().String()] = "b"
	}
	waitEqual(t, "held of b", 3, func() int { return r.label("b").Held })

	ids := make(map[uint64]bool)
	all := r.Connections(proxy.Filter{})
	for _, info := range all {
		if want[info.Client] != info.Label || ids[info.ID] || info.Age <= 0 || info.Source != "" {
			t.Errorf("connection: got %+v; want label %q, an id of its own, an age", info, want[info.Client])
		}
		ids[info.ID] = true
		got := fmt.Sprint(info.State, " ", info.Master, " ", info.BytesUp, " ", info.BytesDown)
		should := fmt.Sprint("relaying ", m.addr, " 5 3")
		if info.Label == "b" {
			should = "held  0 0"
		}
		if got != should {
			t.Errorf("connection of %s: got %q; want %q", info.Label, got, should)
		}
		if epoch := r.label("a").Epoch; info.Label == "a" && info.Epoch != epoch {
			t.Errorf("epoch: got %d; want %d", info.Epoch, epoch)
		}
	}
	for _, f := range []struct {
		filter proxy.Filter
		want   int
	}{{proxy.Filter{}, 7}, {proxy.Filter{Label: "a"}, 4}, {proxy.Filter{Label: "b"}, 3}, {proxy.Filter{Limit: 5}, 5},
		{proxy.Filter{Label: "a", Limit: 1}, 1}, {proxy.Filter{Limit: 100}, 7}, {proxy.Filter{Label: "nobody's"}, 0}} {
		if got := r.Connections(f.filter); len(got) != f.want {
			t.Errorf("connections of %+v: got %d; want %d", f.filter, len(got), f.want)
		}
	}
}

func TestSnapshotCountsWhatHappened(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	m := newMaster(t, nil)
	if s := r.state(); s.Master.Address.IsValid() || s.LastFailover != nil || s.Accepted != 0 {
		t.Errorf("before the first master: got %+v; want nothing", s)
	}
	r.SetMaster("default", proxy.Master{Address: m.addr, ServiceID: "sync-1", Node: "n1"})
	begin := time.Now()
	var live []*net.TCPConn
	for i := range 9 {
		client, server := r.pair(m)
		passes(t, client, server, "0123456789")
		switch i % 3 {
		case 0:
			reset(t, client)
		case 1:
			client.Close()
			wantEnd(t, "master", server, byFIN)
			server.Close()
		case 2:
			live = append(live, client)
		}
	}
	r.wantClosed(map[proxy.Reason]uint64{proxy.ClientReset: 3, proxy.ClientClosed: 3})
	r.waitActive(len(live))
	wantSums(t, r)
	s := r.state()
	if s.Accepted != 9 || s.Held != 0 || s.BytesUp != 90 || s.BytesDown != 0 || s.DialFailures != 0 {
		t.Errorf("snapshot: got %+v; want 9 accepted, 90 bytes up", s)
	}
	if total(s.Dial) != 9 || s.Dial.Sum <= 0 || len(s.Dial.Counts) != len(s.Dial.Bounds)+1 {
		t.Errorf("dials: got %d in %g s; want 9 in some", total(s.Dial), s.Dial.Sum)
	}
	if s.Label != "default" || s.Listen != r.addrs["default"] || s.Master.ServiceID != "sync-1" || s.Master.Node != "n1" ||
		s.Since.IsZero() || s.Since.After(begin) {
		t.Errorf("label: got %+v; want sync-1 on n1 since before %v", s, begin)
	}
	if n := r.Snapshot().Active(); n != len(live) {
		t.Errorf("active: got %d; want %d", n, len(live))
	}
	waitEqual(t, "active", len(live), r.Active)
}

func TestEndOfServeClosesListenersAndConnections(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	m := newMaster(t, nil)
	r.set(m.addr)
	client, server := r.pair(m)
	relays(t, client, server)
	r.stop()
	r.wantRefused()
	for who, c := range map[string]*net.TCPConn{"client": client, "master": server} {
		if data, how := ending(c); len(data) > 0 || how != byRST && how != byFIN {
			t.Errorf("%s after Serve: got %d bytes, then %s; want the end", who, len(data), how)
		}
	}
	wantNoSockets(t, m.addr)
}

// TestMethodsReturnAfterServeHasEnded: a late call of the admin server, or of a
// source of masters, must not hang the end of the process.
func TestMethodsReturnAfterServeHasEnded(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	a, b := newMaster(t, echo), newMaster(t, echo)
	r.set(a.addr)
	if err := ask(r.dial()); err != nil {
		t.Fatal(err)
	}
	r.stop()
	within(t, "every method after Serve", func() {
		r.set(b.addr)
		r.Lose("default", proxy.Loss{})
		r.StopAccepting()
		r.Kill("")
		r.Connections(proxy.Filter{})
		if n := r.Active() + r.Snapshot().Active(); n != 0 {
			t.Errorf("active after Serve: got %d; want 0", n)
		}
		r.Shutdown(context.Background())
	})
}

// TestClientsThatConnectedBeforeServeAreServed has them all waiting when the
// first shard starts, and the others not yet.
func TestClientsThatConnectedBeforeServeAreServed(t *testing.T) {
	noLeaks(t)
	m := newMaster(t, echo)
	for range 20 {
		c := config()
		c.Shards = 4
		p, err := proxy.New(c, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		p.SetMaster("default", proxy.Master{Address: m.addr})
		clients := make([]*net.TCPConn, 24)
		for i := range clients {
			if clients[i], err = dialTCP(p.Snapshot().Labels[0].Listen); err != nil {
				t.Fatal(err)
			}
			defer clients[i].Close()
		}
		r := serve(t, p)
		for i, client := range clients {
			if err := ask(client); err != nil {
				t.Fatalf("client %d: %v", i, err)
			}
			reset(t, client)
		}
		r.waitActive(0)
		r.stop()
	}
}

// TestMasterSetBeforeServeCounts: the source of masters may be the faster one to start.
func TestMasterSetBeforeServeCounts(t *testing.T) {
	noLeaks(t)
	p, err := proxy.New(config(), zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	m := newMaster(t, echo)
	set := make(chan struct{})
	go func() {
		defer close(set)
		p.SetMaster("default", proxy.Master{Address: m.addr})
	}()
	client, err := dialTCP(p.Snapshot().Labels[0].Listen) // waits in the backlog
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	serve(t, p)
	within(t, "SetMaster", func() { <-set })
	if err := ask(client); err != nil {
		t.Errorf("client that connected before Serve: %v", err)
	}
}
