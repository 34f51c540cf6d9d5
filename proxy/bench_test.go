package proxy

import (
	"io"
	"net"
	"net/netip"
	"runtime"
	"testing"
)

// The load shares the process with the proxy here: allocations are what these
// show; for times see the bench program, which keeps the two apart.

func BenchmarkPingPong64B(b *testing.B) {
	_, address := running(b, Config{Shards: 1}, echo(b))
	c := dialed(b, address)
	message := make([]byte, 64)
	roundTrip(b, c, message)
	b.ReportAllocs()
	b.SetBytes(int64(len(message)))
	for b.Loop() {
		roundTrip(b, c, message)
	}
}

func BenchmarkBulkUp(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	const perOp = 1 << 20
	received := make(chan struct{}, 1024)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		for sink := make([]byte, perOp); ; {
			if _, err := io.ReadFull(c, sink); err != nil {
				return
			}
			received <- struct{}{}
		}
	}()
	_, address := running(b, Config{Shards: 1}, l.Addr().String())
	c := dialed(b, address)
	block := make([]byte, perOp)
	b.ReportAllocs()
	b.SetBytes(perOp)
	for b.Loop() {
		if _, err := c.Write(block); err != nil {
			b.Fatal(err)
		}
		<-received
	}
}

// BenchmarkConnect is accept, dial, one round trip and the close of both
// sides; the allocations are those of the client and the master, too.
func BenchmarkConnect(b *testing.B) {
	p, address := running(b, Config{Shards: 1}, echo(b))
	message := make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		c, err := net.Dial("tcp", address)
		if err != nil {
			b.Fatal(err)
		}
		roundTrip(b, c, message)
		if err := c.Close(); err != nil {
			b.Fatal(err)
		}
	}
	eventually(b, "all are closed", func() bool { return p.Active() == 0 })
}

// BenchmarkFence is a change of masters with nothing to cut: the store, and
// the word of each shard. As in the program there is a P more than shards.
func BenchmarkFence(b *testing.B) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(3))
	p, _ := running(b, Config{Shards: 2}, "")
	masters := [2]Master{
		{Address: netip.MustParseAddrPort("127.0.0.1:1")},
		{Address: netip.MustParseAddrPort("127.0.0.1:2")},
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		p.SetMaster("default", masters[i%2])
	}
}

// BenchmarkTimers arms, moves and disarms a deadline among 8,000 others.
func BenchmarkTimers(b *testing.B) {
	var t timers
	const slots = 8000
	at := func(slot uint32) int64 { return int64(slot * 7919 % slots) }
	for slot := range uint32(slots) {
		t.arm(slot, at(slot))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		slot := uint32(i % slots)
		t.arm(slot, at(slot)+4000)
		t.disarm(slot)
		t.arm(slot, at(slot))
	}
}

// BenchmarkSlab takes and frees a connection's slot.
func BenchmarkSlab(b *testing.B) {
	var s slab
	var l loop
	b.ReportAllocs()
	for b.Loop() {
		c := s.take(&l)
		l.free = append(l.free, c.index)
	}
}
