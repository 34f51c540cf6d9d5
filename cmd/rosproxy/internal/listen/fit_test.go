package listen

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/rosproxy/rosproxy/drain/handover"
	"github.com/rosproxy/rosproxy/proxy"
)

// inherit gives a listening socket as a predecessor hands it over.
func inherit(t *testing.T, name, network, address string) handover.Socket {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	f, err := l.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return handover.Socket{Name: name, File: f}
}

func portOf(t *testing.T, s handover.Socket) string {
	t.Helper()
	at, ok := boundTo(s)
	if !ok {
		t.Fatalf("%s has no address", s.Name)
	}
	_, port, _ := net.SplitHostPort(at.String())
	return port
}

func TestSocketFitsItsAddress(t *testing.T) {
	loopback, wildcard := inherit(t, "listen a", "tcp", "127.0.0.1:0"), inherit(t, "listen b", "tcp", ":0")
	one, any := portOf(t, loopback), portOf(t, wildcard)
	for _, c := range []struct {
		s       handover.Socket
		address string
		want    bool
	}{
		{loopback, "127.0.0.1:" + one, true},
		{loopback, "[::ffff:127.0.0.1]:" + one, true},
		{loopback, "127.0.0.1:0", true}, // the kernel has chosen
		{loopback, "localhost:" + one, true},
		{loopback, "127.0.0.1:" + any, false},
		{loopback, "127.0.0.2:" + one, false},
		{loopback, ":" + one, false},
		{loopback, "localhost:" + any, false},
		{wildcard, ":" + any, true},
		{wildcard, "[::]:" + any, true},
		{wildcard, "127.0.0.1:" + any, false},
	} {
		if got := fits(c.s, c.address); got != c.want {
			t.Errorf("%s for %s: got %t; want %t", c.s.Name, c.address, got, c.want)
		}
	}
}

func TestEndpointSocketFitsItsAddress(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	tcp, unix := inherit(t, Admin, "tcp", "127.0.0.1:0"), inherit(t, Admin, "unix", path)
	for _, c := range []struct {
		s                handover.Socket
		network, address string
		want             bool
	}{
		{tcp, "tcp", "127.0.0.1:" + portOf(t, tcp), true},
		{tcp, "tcp", "127.0.0.1:1", false},
		{tcp, "unix", path, false},
		{unix, "unix", path, true},
		{unix, "unix", path + "2", false},
		{unix, "tcp", "127.0.0.1:1", false},
	} {
		if got := fitsEndpoint(c.s, c.network, c.address); got != c.want {
			t.Errorf("for %s %s: got %t; want %t", c.network, c.address, got, c.want)
		}
	}
}

// TestEndpointOnAllAddressesGoesToTheSuccessor: what all addresses are differs
// between 0.0.0.0 and [::], for the kernel and for the successor.
func TestEndpointOnAllAddressesGoesToTheSuccessor(t *testing.T) {
	for _, c := range []struct{ host, want string }{{"0.0.0.0", "0.0.0.0"}, {"[::]", "[::]"}, {"", "[::]"}, {"127.0.0.1", "127.0.0.1"}} {
		t.Run(c.host, func(t *testing.T) {
			opened, err := (&Inherited{}).Open(t.Context(), Admin, "tcp", c.host+":0", 8)
			if err != nil {
				t.Fatal(err)
			}
			defer opened[0].Close()
			at := opened[0].Addr().String()
			if !strings.HasPrefix(at, c.want+":") {
				t.Errorf("got %s; want it on %s", at, c.want)
			}
			s, err := opened[0].Duplicate()
			if err != nil {
				t.Fatal(err)
			}
			successor := NewInherited([]handover.Socket{s}, nil, nil)
			defer successor.Close()
			again, err := successor.Open(t.Context(), Admin, "tcp", c.host+":"+portOf(t, s), 8)
			if err != nil {
				t.Fatalf("the successor: %v", err)
			}
			if err := again[0].Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSocketsGoToTheListenersThatWantThem(t *testing.T) {
	first, second := inherit(t, "listen a", "tcp", "127.0.0.1:0"), inherit(t, "listen b", "tcp", "127.0.0.1:0")
	systemds := inherit(t, "listen c", "tcp", "127.0.0.1:0")
	systemds.Shared = true
	at := func(s handover.Socket) string { return "127.0.0.1:" + portOf(t, s) }
	for _, c := range []struct {
		name      string
		listeners []proxy.Listener
		want      string // by listener
		unwanted  string
	}{
		{"as they were", []proxy.Listener{{Label: "a", Address: at(first)}, {Label: "b", Address: at(second)}, {Label: "c", Address: ":1"}}, "listen a;listen b;listen c", ""},
		{"labels that have changed places", []proxy.Listener{{Label: "a", Address: at(second)}, {Label: "b", Address: at(first)}}, "listen b;listen a", ""},
		{"a label that is renamed", []proxy.Listener{{Label: "x", Address: at(first)}}, "listen a", "listen b"},
		{"a label that has moved", []proxy.Listener{{Label: "a", Address: "127.0.0.1:1"}, {Label: "b", Address: at(second)}}, ";listen b", "listen a"},
		{"systemd's is nobody else's", []proxy.Listener{{Label: "x", Address: at(systemds)}}, "", "listen a,listen b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := NewInherited([]handover.Socket{first, second, systemds}, nil, c.listeners)
			var got []string
			for _, sockets := range i.takeFor(c.listeners) {
				got = append(got, names(sockets))
			}
			if got := strings.Join(got, ";"); got != c.want {
				t.Errorf("got %q; want %q", got, c.want)
			}
			if got := names(i.Unwanted()); got != c.unwanted {
				t.Errorf("unwanted: got %q; want %q", got, c.unwanted)
			}
		})
	}
}

func names(sockets []handover.Socket) string {
	var all []string
	for _, s := range sockets {
		all = append(all, s.Name)
	}
	slices.Sort(all)
	return strings.Join(all, ",")
}

func TestRetiredPortRefusesWhoeverHasACopy(t *testing.T) {
	s := inherit(t, "listen a", "tcp", "127.0.0.1:0")
	address := "127.0.0.1:" + portOf(t, s)
	copied, err := net.FileListener(s.File) // as the predecessor has one
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close()
	path := filepath.Join(t.TempDir(), "s")
	if err := Retire([]handover.Socket{s, inherit(t, Admin, "unix", path)}); err != nil {
		t.Fatal(err)
	}
	var d net.Dialer
	if _, err := d.DialContext(context.Background(), "tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v; want the connection refused", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("path of a unix socket: got %v; want it gone", err)
	}
}
