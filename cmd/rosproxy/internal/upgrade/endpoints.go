package upgrade

import (
	"context"
	"errors"
	"net"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/listen"
)

// ServeFunc answers on a listener until its context ends, and closes it.
type ServeFunc = func(context.Context, net.Listener) error

// Endpoint is a listening socket and what answers on it.
type Endpoint struct {
	*listen.Endpoint
	Serve ServeFunc
}

// Endpoints are all that answer. Those of a successor answer when it may
// serve. When they are handed over, the admin endpoints go on at a socket of
// this process's own.
type Endpoints struct {
	All        []Endpoint
	Allowed    <-chan struct{}                             // closed when this process may serve
	HandedOver <-chan struct{}                             // closed when a successor has the sockets
	OpenOwn    func(context.Context) (net.Listener, error) // the socket of its own
	ServeOwn   ServeFunc
	Log        zerolog.Logger
}

// Run returns when all have ended: at the end of ctx, or when one fails. They are closed then.
func (e *Endpoints) Run(ctx context.Context) error {
	select {
	case <-e.Allowed:
	case <-ctx.Done():
		var errs []error
		for _, one := range e.All {
			errs = append(errs, one.Close())
		}
		return errors.Join(errs...)
	}
	group, ctx := errgroup.WithContext(ctx)
	until, leave := context.WithCancel(ctx)
	defer leave()
	for _, one := range e.All {
		one.KeepPath(false)
		group.Go(func() error { return one.Serve(until, one.Endpoint) })
	}
	group.Go(func() error {
		select {
		case <-e.HandedOver:
		case <-ctx.Done():
			return nil
		}
		l, err := e.OpenOwn(ctx)
		if err != nil {
			e.Log.Error().Err(err).Msg("no admin endpoints while this process drains")
		} else {
			group.Go(func() error { return e.ServeOwn(ctx, l) })
		}
		leave() // kept connections, too: who asks the shared address is to reach the new process
		return nil
	})
	return group.Wait()
}
