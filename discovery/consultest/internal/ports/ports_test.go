package ports

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
)

var loopback = netip.MustParseAddr("127.0.0.1")

func TestReservedPortRefusesThenServesThenRefuses(t *testing.T) {
	r, err := Reserve(loopback)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	refused := func(when string) {
		t.Helper()
		if c, err := net.Dial("tcp", r.String()); !errors.Is(err, syscall.ECONNREFUSED) {
			if err == nil {
				c.Close()
			}
			t.Errorf("dial %s: got %v; want %v", when, err, syscall.ECONNREFUSED)
		}
	}
	refused("before anybody listens")
	for range 2 {
		l, err := net.Listen("tcp4", r.String())
		if err != nil {
			t.Fatalf("listen on a reserved port: %v", err)
		}
		c, err := net.Dial("tcp", r.String())
		if err != nil {
			t.Fatalf("dial while somebody listens: %v", err)
		}
		c.Close()
		l.Close()
		refused("after the listener has closed")
	}
}

// The kernel gives the port to nobody who asks for any, as long as it is reserved.
func TestReservedPortIsNotGivenAway(t *testing.T) {
	r, err := Reserve(loopback)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	for range 500 {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		defer l.Close()
		if port == r.Port() {
			t.Fatalf("listen on any port: got the reserved %d", port)
		}
	}
}

func TestReservationNamesWhatItCannotHave(t *testing.T) {
	if _, err := ReservePort(netip.MustParseAddrPort("[::1]:0")); err == nil {
		t.Error("reserve on IPv6: got no error; want one")
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := ReservePort(l.Addr().(*net.TCPAddr).AddrPort()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("reserve a port that somebody listens on: got %v; want %v", err, syscall.EADDRINUSE)
	}
}
