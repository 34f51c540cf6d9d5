package freeport

import (
	"errors"
	"net"
	"syscall"
	"testing"
)

func TestHeldPortIsFoundByNobodyAndServesItsServer(t *testing.T) {
	address, err := Address()
	if err != nil {
		t.Fatal(err)
	}
	release, err := Hold(address)
	if err != nil {
		t.Fatal(err)
	}
	wantHeld := func() {
		t.Helper()
		if l, err := alone.Listen(t.Context(), "tcp", address); err == nil {
			l.Close()
			t.Errorf("%s is taken for free while it is held", address)
		}
		if _, err := net.Dial("tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial %s while its server is down: got %v; want it refused", address, err)
		}
	}
	wantHeld()
	for range 2 {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatalf("its server: %v", err)
		}
		l.Close()
		wantHeld()
	}
	release()
	l, err := alone.Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatalf("after its release: %v; want it free", err)
	}
	l.Close()
}
