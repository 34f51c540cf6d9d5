package proxy

import (
	"context"
	"net/netip"
	"testing"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// The other process wanted one of the listeners no more, and has closed its port
// for all who have the socket. Then it died.
func TestListenerThatTheOtherDidNotWantIsReclaimedWithTheRest(t *testing.T) {
	p, err := New(Config{Listeners: []Listener{{Label: "kept", Address: "127.0.0.1:0"}, {Label: "left", Address: "127.0.0.1:0"}}, Shards: 2}, nopLog)
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort(echo(t))
	for _, label := range []string{"kept", "left"} {
		p.SetMaster(label, Master{Address: at})
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	left, err := p.Release()
	if err != nil {
		t.Fatal(err)
	}
	<-left
	stopped := p.listeners.sockets[1]
	sock.StopListening(stopped.fd)
	wantRefused(t, stopped.bound.String())

	if err := p.Reclaim(); err != nil {
		t.Fatalf("reclaim: %v", err)
	}
	for _, s := range p.listeners.sockets {
		roundTrip(t, dialed(t, s.bound.String()), []byte("x"))
	}
}
