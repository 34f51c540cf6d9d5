package drain

import (
	"context"
	"errors"
	"time"
)

// The transitions. All of them run on Run's goroutine, with its context.

func (m *Machine) start(ctx context.Context, o Options) {
	if m.phase != Serving {
		m.arm(o.Exit)
		return
	}
	grace, timeout := m.config.Grace, m.config.Timeout
	if o.Grace != nil {
		grace = *o.Grace
	}
	if o.Timeout != nil {
		timeout = *o.Timeout
	}
	m.phase = Draining
	if m.exit = o.Exit; m.exit {
		close(m.exiting)
	}
	m.started = time.Now()
	m.deadline = m.started.Add(timeout)
	m.log.Info().Dur("grace_ms", grace).Time("deadline", m.deadline).Bool("exit", m.exit).
		Int("active", m.target.Active()).Msg("drain started")
	if grace = min(grace, timeout); grace <= 0 {
		m.shutDown(ctx)
		return
	}
	m.grace = time.After(grace)
	m.publish()
}

// arm adds the end of the process to a drain that has been started.
func (m *Machine) arm(exit bool) {
	if !exit || m.exit {
		return
	}
	m.exit = true
	close(m.exiting)
	m.log.Info().Msg("drain will end the process")
	if m.phase == Drained {
		m.stop()
	}
}

// shutDown begins the wait for the live connections: grace is over.
func (m *Machine) shutDown(ctx context.Context) {
	m.grace = nil
	m.publish()
	ctx, m.cancel = context.WithDeadline(ctx, m.deadline)
	go m.awaitTarget(ctx)
}

func (m *Machine) awaitTarget(ctx context.Context) {
	rest, err := m.target.Shutdown(ctx)
	m.finished <- result{rest, err} // has room: one Shutdown runs at a time
}

func (m *Machine) finish(r result) {
	m.cancel()
	m.cancel = nil
	m.phase = Drained
	m.publish()
	e := m.log.Info()
	if r.err != nil && !errors.Is(r.err, context.DeadlineExceeded) {
		e = m.log.Error().Err(r.err)
	}
	e.Dur("duration_ms", time.Since(m.started)).Int("parted", r.rest.Parted).Int("cut", r.rest.Cut).Msg("drain finished")
	if m.exit {
		m.stop()
	}
}

func (m *Machine) stop() {
	m.phase = Stopping
	m.publish()
	close(m.done)
}

// callOff ends a running Shutdown before its deadline, and the grace period.
func (m *Machine) callOff() {
	m.grace = nil
	if m.cancel == nil {
		return
	}
	m.cancel()
	m.cancel = nil
	<-m.finished
}

// undo is all or nothing: a target that cannot resume goes on draining, with
// the deadline it had, so that what is shown stays true.
func (m *Machine) undo(ctx context.Context) error {
	switch {
	case m.phase == Serving:
		return nil
	case m.exit:
		return ErrStopping
	}
	accepting := m.grace != nil
	m.callOff()
	if !accepting {
		if err := m.target.Resume(); err != nil {
			m.log.Error().Err(err).Msg("drain could not be undone")
			m.phase = Draining
			m.shutDown(ctx)
			return err
		}
	}
	m.phase = Serving
	m.publish()
	m.log.Info().Dur("duration_ms", time.Since(m.started)).Msg("drain undone")
	return nil
}
