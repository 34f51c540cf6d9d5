package drain

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"
)

// The transitions. All of them run on Run's goroutine, with its context.

// serve begins the phase Serving.
func (l *Lifecycle) serve() {
	var serves context.Context
	serves, l.stopServes = context.WithCancelCause(context.Background())
	l.phase, l.exit, l.succeeded = Serving, false, false
	l.publish(serves)
}

func (l *Lifecycle) publish(serves context.Context) {
	l.shown.Store(&shown{
		phase:     l.phase,
		started:   l.started,
		deadline:  l.deadline,
		accepting: l.phase == Serving || l.grace != nil,
		serves:    serves,
	})
}

// show publishes what has changed within or after a drain.
func (l *Lifecycle) show() { l.publish(l.shown.Load().serves) }

func (l *Lifecycle) start(ctx context.Context, o Options) {
	if l.phase != Serving {
		l.addExit(o.Exit)
		return
	}
	if o.Exit {
		close(l.exiting)
	}
	l.begin(ctx, o)
}

// begin leaves the phase Serving.
func (l *Lifecycle) begin(ctx context.Context, o Options) {
	grace, timeout := l.config.Grace, l.config.Timeout
	if o.Grace != nil {
		grace = *o.Grace
	}
	if o.Timeout != nil {
		timeout = *o.Timeout
	}
	l.stopServes(ErrDraining)
	l.phase, l.exit = Draining, o.Exit
	l.started = time.Now()
	l.deadline = l.started.Add(timeout)
	l.tell(zerolog.InfoLevel, "drain started", "grace_ms", grace, "deadline", l.deadline, "exit", l.exit, "active", l.target.Active())
	if grace = min(grace, timeout); grace <= 0 {
		l.shutDown(ctx)
		return
	}
	l.grace = time.After(grace)
	l.show()
}

// addExit adds the end of the process to a drain that has been started. One
// that another process has taken over from exits anyhow: it does not go back
// to serving any more.
func (l *Lifecycle) addExit(exit bool) {
	if !exit || l.exit && !l.succeeded {
		return
	}
	l.exit, l.succeeded = true, false
	close(l.exiting)
	l.tell(zerolog.InfoLevel, "drain will end the process")
	if l.phase == Drained {
		l.stop()
	}
}

// shutDown begins the wait for the live connections: grace is over.
func (l *Lifecycle) shutDown(ctx context.Context) {
	l.grace = nil
	l.show()
	ctx, l.cancel = context.WithDeadline(ctx, l.deadline)
	go l.awaitTarget(ctx)
}

func (l *Lifecycle) awaitTarget(ctx context.Context) {
	rest, err := l.target.Shutdown(ctx)
	l.finished <- result{rest, err} // has room: one Shutdown runs at a time
}

func (l *Lifecycle) finish(r result) {
	l.cancel()
	l.cancel = nil
	l.phase = Drained
	if !l.exit { // else it is on its way to Stopping, and nobody is to take it for one that stays
		l.show()
	}
	level, fields := zerolog.InfoLevel, []any{"duration_ms", time.Since(l.started), "closed", r.rest.Closed, "cut", r.rest.Cut}
	if r.err != nil && !errors.Is(r.err, context.DeadlineExceeded) {
		level, fields = zerolog.ErrorLevel, append([]any{"error", r.err}, fields...)
	}
	l.tell(level, "drain finished", fields...)
	if l.exit {
		l.stop()
	}
}

func (l *Lifecycle) stop() {
	l.phase = Stopping
	l.show()
	close(l.done)
}

// callOff ends a running Shutdown before its deadline, and the grace period.
func (l *Lifecycle) callOff() {
	l.grace = nil
	if l.cancel == nil {
		return
	}
	l.cancel()
	l.cancel = nil
	<-l.finished
}

func (l *Lifecycle) undo(ctx context.Context) error {
	switch {
	case l.phase == Serving:
		return nil
	case l.exit:
		return ErrStopping
	}
	reopen := l.target.Resume
	if l.grace != nil { // nothing was closed yet
		reopen = func() error { return nil }
	}
	return l.resume(ctx, reopen)
}

// resume is all or nothing: a target that cannot reopen its listeners goes on
// draining, with the deadline it had, so that what is shown stays true.
func (l *Lifecycle) resume(ctx context.Context, reopen func() error) error {
	l.callOff()
	if err := reopen(); err != nil {
		l.tell(zerolog.ErrorLevel, "drain could not be undone", "error", err)
		l.phase = Draining
		l.shutDown(ctx)
		return err
	}
	l.serve()
	l.tell(zerolog.InfoLevel, "drain undone", "duration_ms", time.Since(l.started))
	return nil
}

// tell writes a line of the log, for whoever asks later what has happened as well.
func (l *Lifecycle) tell(level zerolog.Level, message string, fields ...any) {
	l.log.WithLevel(level).Fields(fields).Msg(message)
	if l.config.OnEvent != nil {
		l.config.OnEvent("drain", message, fields)
	}
}
