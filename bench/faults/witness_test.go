package main

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/bench/faults/internal/lan"
	"github.com/rosproxy/rosproxy/bench/faults/internal/witness"
)

// TestWitnessSeesEveryByteThatAHostSends: also what nobody reads, and with the
// kernel's time, or it could not tell what was sent after a fence.
func TestWitnessSeesEveryByteThatAHostSends(t *testing.T) {
	n, err := lan.New("data")
	if err != nil {
		t.Fatal(err)
	}
	from, err := n.Host("from", "data", "10.78.0.1")
	if err != nil {
		t.Fatal(err)
	}
	to, err := n.Host("to", "data", "10.78.0.2")
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Introduce(); err != nil {
		t.Fatal(err)
	}
	address := netip.MustParseAddrPort("10.78.0.2:7801")
	err = to.Do(func() error {
		l, err := net.Listen("tcp4", address.String())
		if err == nil {
			t.Cleanup(func() { l.Close() })
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	w, err := witness.Watch(from, from.Device("data"), 7801, 7801)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()

	began := time.Now()
	c, err := from.Dial(context.Background(), "tcp4", address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const bytes = 10000
	if _, err := c.Write(make([]byte, bytes)); err != nil {
		t.Fatal(err)
	}
	sent := func(after time.Time) (payload, syns int) {
		for _, p := range w.Sent(address, after) {
			if payload += p.Payload; p.Payload == 0 {
				syns++
			}
		}
		return payload, syns
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		payload, syns := sent(began)
		if payload == bytes && syns >= 1 { // a SYN may have been lost while the cable came up
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %d bytes and %d SYNs; want %d and some", payload, syns, bytes)
		}
	}
	over := time.Now()
	sockets, err := from.Sockets(address)
	if err != nil || len(sockets) != 1 || !sockets[0].CanCarry() {
		t.Errorf("sockets to %v: got %v, %v; want one that can carry", address, sockets, err)
	}
	if payload, syns := sent(over); payload+syns > 0 {
		t.Errorf("sent after the last byte: got %d bytes and %d SYNs; want none", payload, syns)
	}
	if lost, err := w.Lost(); lost > 0 || err != nil {
		t.Errorf("lost: got %d, %v; want none", lost, err)
	}
}
