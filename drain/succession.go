package drain

import (
	"context"
	"errors"
	"time"
)

// ErrDraining is returned when the process is not serving.
var ErrDraining = errors.New("the process is draining")

// WhileServing gives a context that ends with ctx, and, with ErrDraining as its
// cause, when a drain of whatever kind starts; at once when one runs.
func (l *Lifecycle) WhileServing(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	serves := l.shown.Load().serves
	stop := context.AfterFunc(serves, func() { cancel(context.Cause(serves)) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// Succeed ends the process in favour of another, which accepts already: it
// calls release, which is to leave the sockets to that one, and must not wait
// for anybody, and starts the drain that ends with the process, without grace.
// It returns ErrDraining, and release is not called, when a drain has started
// before; the error of release is returned, and changes nothing. It waits for
// Run to run.
func (l *Lifecycle) Succeed(release func() error) error {
	err := ErrStopping // for when Run has returned
	l.request(func(ctx context.Context) { err = l.succeed(ctx, release) })
	return err
}

func (l *Lifecycle) succeed(ctx context.Context, release func() error) error {
	if l.phase != Serving {
		return ErrDraining
	}
	if err := release(); err != nil {
		return err
	}
	l.succeeded = true
	l.begin(ctx, Options{Grace: new(time.Duration), Exit: true})
	return nil
}

// Reclaim goes back to serving after Succeed: the other process has died. It
// returns ErrStopping when somebody has asked for the end of this process since,
// or its last connection has ended, and the target's error when that cannot have
// its sockets back: the drain goes on then. It waits for Run to run.
func (l *Lifecycle) Reclaim() error {
	err := ErrStopping // for when Run has returned
	l.request(func(ctx context.Context) { err = l.reclaim(ctx) })
	return err
}

func (l *Lifecycle) reclaim(ctx context.Context) error {
	if !l.succeeded || l.phase == Stopping {
		return ErrStopping
	}
	return l.resume(ctx, l.target.Reclaim)
}
