package listen

import (
	"net"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/drain/handover"
	"github.com/rosproxy/rosproxy/proxy"
)

// What is said of two addresses is what the kernel does.
func TestAddressesThatOverlapCannotBeOpenSideBySide(t *testing.T) {
	for _, c := range []struct {
		a, b string // without the port
		want bool
	}{
		{"127.0.0.1", "127.0.0.1", true},
		{"127.0.0.1", "127.0.0.2", false},
		{"127.0.0.1", "[::ffff:127.0.0.1]", true},
		{"", "127.0.0.1", true},
		{"[::]", "127.0.0.1", true},
		{"[::]", "0.0.0.0", true},
		{"[::]", "[::1]", true},
		{"0.0.0.0", "127.0.0.1", true},
		{"0.0.0.0", "[::1]", false},
		{"127.0.0.1", "[::1]", false},
	} {
		if one, other := overlap(c.a+":1", c.b+":1"), overlap(c.b+":1", c.a+":1"); one != c.want || other != c.want {
			t.Errorf("%q and %q: got %t and %t; want %t", c.a, c.b, one, other, c.want)
		}
		if overlap(c.a+":1", c.b+":2") || overlap(c.a+":0", c.b+":0") {
			t.Errorf("%q and %q at two ports, or any: got an overlap; want none", c.a, c.b)
		}
		first, err := proxy.New(proxy.Config{Listeners: []proxy.Listener{{Label: "a", Address: c.a + ":0"}}}, zerolog.Nop())
		if err != nil {
			t.Logf("%s: %v", c.a, err) // a machine without IPv6
			continue
		}
		_, port, err := net.SplitHostPort(first.Snapshot().Labels[0].Listen)
		if err != nil {
			t.Fatal(err)
		}
		second, err := proxy.New(proxy.Config{Listeners: []proxy.Listener{{Label: "b", Address: c.b + ":" + port}}}, zerolog.Nop())
		if (err != nil) != c.want {
			t.Errorf("%s and %s: got %v; want an error: %t", c.a, c.b, err, c.want)
		}
		if second != nil {
			second.Close()
		}
		first.Close()
	}
	for _, a := range []string{"localhost:1", "[fe80::1%a]:1"} {
		if overlap(a, a) {
			t.Errorf("%s: got an overlap; want it left to the kernel", a)
		}
	}
}

func overlap(a, b string) bool {
	x, _ := FixedAddress(a)
	y, _ := FixedAddress(b)
	return Overlap(x, y)
}

// A reload opens what is new while the old process still listens.
func TestAddressInTheWayOfAnInheritedSocketIsToldApart(t *testing.T) {
	loopback, systemds := inherit(t, "listen a", "tcp", "127.0.0.1:0"), inherit(t, "listen b", "tcp", "127.0.0.1:0")
	systemds.Shared = true
	all, kept := ":"+portOf(t, loopback), ":"+portOf(t, systemds)
	open := func(listeners ...proxy.Listener) error {
		i := NewInherited([]handover.Socket{loopback, systemds}, nil, listeners)
		p, err := i.OpenProxy(t.Context(), proxy.Config{Listeners: listeners}, zerolog.Nop())
		if p != nil {
			p.Close()
		}
		return err
	}
	for want, listener := range map[string]proxy.Listener{
		`listener "a": listen on "` + all + `": the process before this one listens on 127.0.0.1` + all + " (listen a)": {Label: "a", Address: all},
		`listener "c": listen on "` + kept + `": systemd listens on 127.0.0.1` + kept + " (listen b)":                   {Label: "c", Address: kept},
	} {
		if err := open(listener); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v; want it to begin %q", err, want)
		}
	}
	i := &Inherited{sockets: []handover.Socket{loopback}}
	if _, err := i.Open(t.Context(), Admin, "tcp", all, 1); err == nil || !strings.Contains(err.Error(), "the process before this one listens on") {
		t.Errorf("admin: got %v; want it to say who is in the way", err)
	}
	if err := open(proxy.Listener{Label: "c", Address: "127.0.0.2" + all}); err != nil {
		t.Errorf("another address of the same port: got %v; want it opened beside", err)
	}
}
