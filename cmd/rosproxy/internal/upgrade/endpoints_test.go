package upgrade

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/listen"
)

// TestReleasedEndpointsAreClosedWhenReleaseReturns: an operator who drains the
// instance when an upgrade is over must not reach the old process.
func TestReleasedEndpointsAreClosedWhenReleaseReturns(t *testing.T) {
	opened, err := new(listen.Inherited).Open(t.Context(), listen.Admin, "tcp", "127.0.0.1:0", 2)
	if err != nil {
		t.Fatal(err)
	}
	allowed := make(chan struct{})
	close(allowed)
	serving := make(chan struct{})
	var closed atomic.Bool
	e := &Endpoints{
		Allowed: allowed,
		OpenOwn: func(ctx context.Context) (net.Listener, error) {
			return new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		},
		ServeOwn: func(ctx context.Context, l net.Listener) error { <-ctx.Done(); return l.Close() },
		Log:      zerolog.Nop(),
	}
	e.Add(Endpoint{Endpoint: opened[0], Serve: func(ctx context.Context, l net.Listener) error {
		close(serving)
		<-ctx.Done()
		time.Sleep(20 * time.Millisecond) // the machine has other work
		closed.Store(true)
		return l.Close()
	}})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	<-serving
	if err := e.Release(); err != nil {
		t.Error(err)
	}
	if !closed.Load() {
		t.Error("got connections accepted here when the endpoints were left to another process; want them all to reach that")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
