package listen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/drain/handover"
	"github.com/rosproxy/rosproxy/proxy"
)

// stubLookup makes every name stand for those addresses.
func stubLookup(t *testing.T, addresses ...string) {
	old := lookup
	lookup = func(_ context.Context, _, host string) ([]netip.Addr, error) {
		var ips []netip.Addr
		for _, a := range addresses {
			ips = append(ips, netip.MustParseAddr(a))
		}
		if len(ips) == 0 {
			return nil, errors.New("no such host")
		}
		return ips, nil
	}
	t.Cleanup(func() { lookup = old })
}

func TestNameStandsForAllItsAddressesThatAreOurs(t *testing.T) {
	stubLookup(t, "203.0.113.1", "127.0.0.2", "::ffff:127.0.0.1", "127.0.0.2")
	for at, want := range map[string][]string{
		"localhost:7": {"127.0.0.1:7", "127.0.0.2:7"},
		"127.0.0.9:7": {"127.0.0.9:7"},
		"[::1]:7":     {"[::1]:7"},
		"[::]:7":      {"[::]:7"},
		":7":          {":7"},
	} {
		if got, err := Addresses(t.Context(), at); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %q, %v; want %q", at, got, err, want)
		}
	}
	stubLookup(t, "203.0.113.2", "203.0.113.1")
	if got, err := Addresses(t.Context(), "far.example:7"); err != nil || !slices.Equal(got, []string{"203.0.113.1:7"}) {
		t.Errorf("none of this machine's: got %q, %v; want the first, whose error says so", got, err)
	}
	stubLookup(t)
	if _, err := Addresses(t.Context(), "none.example:7"); err == nil || !strings.Contains(err.Error(), `"none.example:7"`) {
		t.Errorf("no address: got %v; want an error that names it", err)
	}
}

func TestListenerTakesAllAddressesOfItsName(t *testing.T) {
	stubLookup(t, "127.0.0.1", "127.0.0.2")
	p, err := new(Inherited).OpenProxy(t.Context(), proxy.Config{
		Listeners: []proxy.Listener{{Label: "a", Address: "localhost:0"}, {Label: "b", Address: "127.0.0.3:0"}},
	}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var hosts []string
	for _, l := range p.Overview().Labels {
		for at := range strings.SplitSeq(l.Listen, ", ") {
			c, err := net.Dial("tcp", at)
			if err != nil {
				t.Fatalf("connect to %s: %v", at, err)
			}
			c.Close()
			hosts = append(hosts, l.Label+" "+netip.MustParseAddrPort(at).Addr().String())
		}
	}
	if got, want := fmt.Sprint(hosts), "[a 127.0.0.1 a 127.0.0.2 b 127.0.0.3]"; got != want {
		t.Errorf("got listeners %s; want %s", got, want)
	}

	// A successor is given all of them, whatever its configuration says.
	copies, err := Copies(p)
	if err != nil {
		t.Fatal(err)
	}
	listeners := []proxy.Listener{{Label: "a", Address: "127.0.0.4:0"}, {Label: "b", Address: "127.0.0.4:0"}}
	inherited := NewInherited(copies, nil, listeners)
	next, err := inherited.OpenProxy(t.Context(), proxy.Config{Listeners: listeners}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	for i, l := range next.Overview().Labels {
		if want := p.Overview().Labels[i]; l.Label != want.Label || l.Listen != want.Listen {
			t.Errorf("successor: got %s at %s; want %s at %s", l.Label, l.Listen, want.Label, want.Listen)
		}
	}
	if names := inherited.Names(); len(names) > 0 {
		t.Errorf("got %q left; want all taken", names)
	}
}

// TestEndpointTakesAllAddressesOfItsName: a balancer that asks the other one of
// localhost's must not find nobody. All of them together have room for conns.
func TestEndpointTakesAllAddressesOfItsName(t *testing.T) {
	stubLookup(t, "127.0.0.1", "127.0.0.2")
	first := openEndpoints(t, new(Inherited), "localhost:0")
	wantHosts(t, first, "127.0.0.1", "127.0.0.2")
	a, _ := connectTo(t, first[0])
	b, server := connectTo(t, first[1])
	c, other := connectTo(t, first[0])
	wantClosed(t, a)
	wantOpen(t, b, server)
	wantOpen(t, c, other)

	var copies []handover.Socket
	for _, e := range first {
		s, err := e.Duplicate()
		if err != nil {
			t.Fatal(err)
		}
		copies = append(copies, s)
	}
	stubLookup(t, "127.0.0.3") // a successor goes on with what it is given
	next := openEndpoints(t, NewInherited(copies, nil, nil), "localhost:0")
	wantHosts(t, next, "127.0.0.1", "127.0.0.2")
	for i, e := range next {
		if e.Addr().String() != first[i].Addr().String() {
			t.Errorf("successor: got %v; want %v", e.Addr(), first[i].Addr())
		}
	}
	again, err := next[0].Duplicate()
	if err != nil {
		t.Fatal(err)
	}
	reopened, err := next[0].Reopen(again)
	if err != nil {
		t.Fatal(err)
	}
	defer reopened.Close()
	if reopened.pool != next[1].pool {
		t.Error("an endpoint that is reopened has room of its own; want it shared with the others")
	}
}

// TestEndpointOpensAllAddressesOrNone: one of them is taken.
func TestEndpointOpensAllAddressesOrNone(t *testing.T) {
	taken, port := takenBeside(t, "127.0.0.2", "127.0.0.1")
	stubLookup(t, "127.0.0.1", "127.0.0.2")
	if _, err := new(Inherited).Open(t.Context(), Admin, "tcp", "localhost:"+port, 2); err == nil || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Errorf("got %v; want an error that names %v", err, taken.Addr())
	}
	free, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatalf("the other address afterwards: got %v; want it free", err)
	}
	free.Close()
}

// takenBeside listens at one address, at a port that is free at the other: the
// kernel gives one that somebody may have there.
func takenBeside(t *testing.T, at, free string) (taken net.Listener, port string) {
	t.Helper()
	for range 100 {
		taken, err := net.Listen("tcp", at+":0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { taken.Close() })
		_, port, _ := net.SplitHostPort(taken.Addr().String())
		if l, err := net.Listen("tcp", free+":"+port); err == nil {
			l.Close()
			return taken, port
		}
	}
	t.Fatalf("no port of %s is free at %s", at, free)
	return nil, ""
}

func openEndpoints(t *testing.T, i *Inherited, address string) []*Endpoint {
	t.Helper()
	opened, err := i.Open(t.Context(), Admin, "tcp", address, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range opened {
		t.Cleanup(func() { e.Close() })
	}
	return opened
}

func wantHosts(t *testing.T, opened []*Endpoint, want ...string) {
	t.Helper()
	var got []string
	for _, e := range opened {
		got = append(got, e.Addr().(*net.TCPAddr).IP.String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("got endpoints at %v; want %v", got, want)
	}
}

func connectTo(t *testing.T, e *Endpoint) (net.Conn, *conn) {
	t.Helper()
	client, err := net.Dial("tcp", e.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	server, err := e.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return client, server.(*conn)
}
