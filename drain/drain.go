// Package drain owns the life of a proxy process: serving, draining, drained,
// stopping.
//
// # Purpose
//
// A proxy that ends must not end its clients with it. A drain makes the process
// unready at once, lets it accept for the grace period (so that balancers
// notice first), then stops accepting and waits for the live connections. By
// the deadline the rest is ended. The deadline counts from the start of the
// drain, grace included. A drain can be undone, unless the process is to exit.
//
// A process that is replaced drains too, without grace, since its successor
// accepts already; and goes back to serving when that successor dies before it.
//
// # Use
//
//	l := drain.New(drain.Config{Grace: 5 * time.Second, Timeout: 5 * time.Minute}, target, log)
//	go l.Run(ctx)
//	l.Start(drain.Options{Exit: true}) // on SIGTERM
//	<-l.Done()                         // the process may exit
//
// # The path
//
// One goroutine, Run, owns the state (lifecycle.go). All else asks it: Start and
// Undo for operators (drain.go), Succeed and Reclaim for a change of process
// (succession.go). No request waits for a connection, for another process, or for
// longer than the Target takes to open its listeners, so that a signal is heard
// at once whatever goes on. What it shows (State) can be read without asking.
//
// # What it is not
//
// It holds no connections: a Target does. It has no endpoints, knows no signals,
// and does not start processes: package handover, below it, does, and knows
// nothing of a Lifecycle. It does not decide when to drain.
package drain

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// MaxDuration is the longest grace or timeout that anybody may ask for.
const MaxDuration = 30 * 24 * time.Hour

// ErrStopping is returned when the drain ends with the process.
var ErrStopping = errors.New("the process is stopping")

// Target is what a drain asks of the data plane.
type Target interface {
	// Shutdown stops accepting, without losing a connection that is already
	// queued, and waits for the last one to end. By ctx's deadline it ends the
	// rest and answers how many; when ctx is cancelled it ends no more. It
	// returns soon after ctx has ended.
	Shutdown(ctx context.Context) (Rest, error)
	// Resume accepts again after a Shutdown.
	Resume() error
	// Reclaim accepts again on sockets that another process had taken over.
	Reclaim() error
	// Active is the number of live connections.
	Active() int
}

// Rest counts the connections that a deadline has ended.
type Rest struct {
	Closed int // by FIN to both peers, which ended in time
	Cut    int // by RST, at the deadline
}

// Phase is where in its life the process is.
type Phase string

// The phases. A drain that ends with the process is shown as Draining until
// its last connection has ended, then as Stopping.
const (
	Serving  Phase = "serving"
	Draining Phase = "draining"
	Drained  Phase = "drained"
	Stopping Phase = "stopping"
)

// State is what a Lifecycle shows of itself.
type State struct {
	Phase     Phase
	Active    int       // connections
	Started   time.Time // of the drain; zero while serving
	Accepting bool
	Deadline  time.Time // when the rest has been ended; zero while serving
}

// Options of one drain. The zero Options drain as the Lifecycle was configured
// and leave the process running, drained.
type Options struct {
	Grace   *time.Duration // still accepting; nil: as configured
	Timeout *time.Duration // from the start until the rest has been ended; nil: as configured
	Exit    bool           // end the process when drained; there is no way back
}

// Config of a Lifecycle.
type Config struct {
	Grace   time.Duration // 0: stop accepting at once
	Timeout time.Duration // 0: cut at once

	// OnEvent is called with each line of the log: event is always drain, fields are
	// the line's, name and value in turn, not to be changed. It must not block.
	OnEvent func(event, message string, fields []any)
}

// Lifecycle is the state machine. Run owns its state; the other methods may be
// called from any goroutine at any time.
type Lifecycle struct {
	config Config
	target Target
	log    zerolog.Logger

	requests chan func(context.Context) // called with Run's context
	ended    chan struct{}              // closed when Run has returned
	done     chan struct{}              // closed when the process should exit
	exiting  chan struct{}              // closed when somebody has asked for the end of the process
	finished chan result                // what Shutdown came to
	shown    atomic.Pointer[shown]

	// Only Run and what it calls touch these.
	phase      Phase
	started    time.Time
	deadline   time.Time
	exit       bool
	succeeded  bool                    // it exits for no other reason than that another process has taken over
	grace      <-chan time.Time        // fires when accepting ends; nil outside grace
	cancel     context.CancelFunc      // calls the running Shutdown off; nil when none runs
	stopServes context.CancelCauseFunc // ends shown.serves
}

type result struct {
	rest Rest
	err  error
}

// shown is the part of State that Run publishes.
type shown struct {
	phase             Phase
	started, deadline time.Time
	accepting         bool
	serves            context.Context // ends with the phase Serving
}

// New makes a Lifecycle that is serving. It does nothing before Run.
func New(c Config, target Target, log zerolog.Logger) *Lifecycle {
	l := &Lifecycle{
		config:   c,
		target:   target,
		log:      log.With().Str("component", "drain").Logger(),
		requests: make(chan func(context.Context)),
		ended:    make(chan struct{}),
		done:     make(chan struct{}),
		exiting:  make(chan struct{}),
		finished: make(chan result, 1),
	}
	l.serve()
	return l
}

// Run runs the lifecycle until ctx ends. When it returns no Shutdown of the
// target is running, and nothing was cut because ctx ended.
func (l *Lifecycle) Run(ctx context.Context) error {
	defer close(l.ended)
	for {
		select {
		case <-ctx.Done():
			l.callOff()
			return nil
		case f := <-l.requests:
			f(ctx)
		case <-l.grace:
			l.shutDown(ctx)
		case r := <-l.finished:
			l.finish(r)
		}
	}
}

// Start starts a drain and returns without waiting for it. A drain that runs
// or is over keeps its start and deadline; Exit is the one thing that can be
// added to it: a drained process then exits at once. It waits for Run to run.
func (l *Lifecycle) Start(o Options) State {
	l.request(func(ctx context.Context) { l.start(ctx, o) })
	return l.State()
}

// Undo goes back to serving, with the listeners open when it returns. It
// returns ErrStopping when the drain ends with the process. When the target
// cannot resume, its error is returned and the drain goes on. It waits for Run
// to run.
func (l *Lifecycle) Undo() (State, error) {
	err := ErrStopping // for when Run has returned
	l.request(func(ctx context.Context) { err = l.undo(ctx) })
	return l.State(), err
}

// State is the state at the moment.
func (l *Lifecycle) State() State {
	v := l.shown.Load()
	s := State{Phase: v.phase, Active: l.target.Active(), Accepting: v.accepting}
	if v.phase != Serving {
		s.Started, s.Deadline = v.started, v.deadline
	}
	return s
}

// Draining reports whether the process is in any phase but Serving.
func (l *Lifecycle) Draining() bool { return l.shown.Load().phase != Serving }

// Done is closed when the process should exit: it has drained, and was told to.
func (l *Lifecycle) Done() <-chan struct{} { return l.done }

// Exiting is closed when somebody has asked for a drain that ends with the process.
func (l *Lifecycle) Exiting() <-chan struct{} { return l.exiting }

// request has Run call f and waits until it has. After Run has returned it does nothing.
func (l *Lifecycle) request(f func(context.Context)) {
	called := make(chan struct{})
	select {
	case l.requests <- func(ctx context.Context) { defer close(called); f(ctx) }:
		<-called
	case <-l.ended:
	}
}
