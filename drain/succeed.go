package drain

import (
	"context"
	"errors"
	"time"
)

// ErrDraining is returned by Succeed when the process is not serving.
var ErrDraining = errors.New("the process is draining")

// Succeed ends the process in favour of another: it calls commit, during which
// no drain starts, and when that returns nil it starts the drain that ends with
// the process. There is no grace: the other process accepts already. The error
// of commit is returned, and changes nothing. It waits for Run to run.
func (m *Machine) Succeed(commit func(context.Context) error) error {
	err := ErrStopping // for when Run has returned
	m.ask(func(ctx context.Context) { err = m.succeed(ctx, commit) })
	return err
}

// Exiting is closed when a drain has started that ends with the process.
func (m *Machine) Exiting() <-chan struct{} { return m.exiting }

func (m *Machine) succeed(ctx context.Context, commit func(context.Context) error) error {
	if m.phase != Serving {
		return ErrDraining
	}
	if err := commit(ctx); err != nil {
		return err
	}
	m.start(ctx, Options{Grace: new(time.Duration), Exit: true})
	return nil
}
