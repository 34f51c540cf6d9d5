package proxy

import (
	"io"
	"net"
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
