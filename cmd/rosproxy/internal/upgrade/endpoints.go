package upgrade

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/listen"
	"github.com/rosproxy/rosproxy/drain/handover"
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
// this process's own, until its end.
type Endpoints struct {
	Allowed  <-chan struct{}                             // closed when this process may serve
	OpenOwn  func(context.Context) (net.Listener, error) // the socket of its own
	ServeOwn ServeFunc
	Log      zerolog.Logger

	mu        sync.Mutex
	all       []Endpoint
	kept      []handover.Socket // copies of all, which a successor serves
	released  chan struct{}     // closed when all are to be left to a successor
	reclaimed chan struct{}     // closed when all are to be served again
}

// Add adds an endpoint, before Run.
func (e *Endpoints) Add(one Endpoint) {
	e.all = append(e.all, one)
	e.released = make(chan struct{})
}

// Copies gives copies of the sockets, which are the caller's to close.
func (e *Endpoints) Copies() (sockets []handover.Socket, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, one := range e.all {
		s, err := one.Duplicate()
		if err != nil {
			listen.CloseAll(sockets)
			return nil, err
		}
		sockets = append(sockets, s)
	}
	return sockets, nil
}

// Release leaves the endpoints to a successor: when it returns, who connects
// reaches nobody else. Copies of their sockets stay open for Reclaim.
func (e *Endpoints) Release() error {
	copies, err := e.Copies()
	for _, one := range e.release(copies) {
		<-one.Closed()
	}
	return err
}

// release has those that are served closed, and gives them.
func (e *Endpoints) release(copies []handover.Socket) (served []Endpoint) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.kept = copies
	for _, one := range e.all {
		one.KeepPath(true)
	}
	e.reclaimed = make(chan struct{})
	close(e.released)
	return slices.Clone(e.all) // Reclaim puts others in their place
}

// Reclaim answers again after a Release.
func (e *Endpoints) Reclaim() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var errs []error
	for i, s := range e.kept {
		reopened, err := e.all[i].Reopen(s)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		e.all[i].Endpoint = reopened
	}
	e.kept = nil
	e.released = make(chan struct{})
	close(e.reclaimed)
	return errors.Join(errs...)
}

// CloseReleased closes the copies that Release has left open.
func (e *Endpoints) CloseReleased() {
	e.mu.Lock()
	defer e.mu.Unlock()
	listen.CloseAll(e.kept)
	e.kept = nil
}

// Run returns when all have ended: at the end of ctx, or when one fails. They are closed then.
func (e *Endpoints) Run(ctx context.Context) error {
	defer e.CloseReleased()
	select {
	case <-e.Allowed:
	case <-ctx.Done():
		var errs []error
		for _, one := range e.all {
			errs = append(errs, one.Close())
		}
		return errors.Join(errs...)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return e.serve(ctx, group) })
	return group.Wait()
}

// serve has group serve what is this process's to serve, until ctx ends: the
// shared endpoints while it has the sockets, and from the first handover on its own.
func (e *Endpoints) serve(ctx context.Context, group *errgroup.Group) error {
	for hasOwn := false; e.serveUntilReleased(ctx, group); {
		if !hasOwn {
			hasOwn = e.serveOwn(ctx, group)
		}
		e.mu.Lock()
		reclaimed := e.reclaimed
		e.mu.Unlock()
		select {
		case <-reclaimed:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// serveUntilReleased reports whether the sockets were released before ctx ended.
// Then connections that were kept end, too: who asks the shared address is to
// reach the new process.
func (e *Endpoints) serveUntilReleased(ctx context.Context, group *errgroup.Group) bool {
	until, stop := context.WithCancel(ctx)
	defer stop()
	select {
	case <-e.serveAll(until, group):
		return true
	case <-ctx.Done():
		return false
	}
}

// serveAll serves the shared addresses until ctx ends, and gives what is closed
// when they are to be left.
func (e *Endpoints) serveAll(ctx context.Context, group *errgroup.Group) (released <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, one := range e.all {
		one.KeepPath(false)
		group.Go(func() error { return one.Serve(ctx, one.Endpoint) })
	}
	return e.released
}

func (e *Endpoints) serveOwn(ctx context.Context, group *errgroup.Group) (isServed bool) {
	l, err := e.OpenOwn(ctx)
	if err != nil {
		e.Log.Error().Err(err).Msg("no admin endpoints while this process drains")
		return false
	}
	group.Go(func() error { return e.ServeOwn(ctx, l) })
	return true
}
