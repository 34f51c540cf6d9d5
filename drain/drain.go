// Package drain owns the life of a proxy process: serving, draining, drained,
// stopping. It holds no connections; it asks a Target.
//
// A drain makes the process unready at once, lets it accept for the grace
// period (so that balancers notice first), then stops accepting and waits for
// the live connections. By the deadline the rest is ended. The deadline counts
// from the start of the drain, grace included.
package drain

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// ErrStopping is returned by Undo when the drain ends with the process.
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
	// Active is the number of live connections.
	Active() int
}

// Rest counts the connections that a deadline has ended.
type Rest struct {
	Parted int // by FIN to both peers, which ended in time
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

// State is what the machine shows of itself.
type State struct {
	Phase     Phase      `json:"state"`
	Active    int        `json:"active"`
	Started   *time.Time `json:"started"` // of the drain; nil while serving
	Accepting bool       `json:"accepting"`
	Deadline  *time.Time `json:"deadline"` // when the rest has been ended; nil while serving
}

// Options of one drain. The zero Options drain as the Machine was configured
// and leave the process running, drained.
type Options struct {
	Grace   *time.Duration // still accepting; nil: as configured
	Timeout *time.Duration // from the start until the rest has been ended; nil: as configured
	Exit    bool           // end the process when drained; there is no way back
}

// MaxDuration is the longest grace or timeout that is sensible to ask for.
const MaxDuration = 30 * 24 * time.Hour

// Config of a Machine.
type Config struct {
	Grace   time.Duration // 0: stop accepting at once
	Timeout time.Duration // 0: cut at once
}

// Machine is the state machine. Run owns its state; the other methods may be
// called from any goroutine at any time.
type Machine struct {
	config Config
	target Target
	log    zerolog.Logger

	asks     chan func(context.Context) // called with Run's context
	ended    chan struct{}              // closed when Run has returned
	done     chan struct{}              // closed when the process should exit
	exiting  chan struct{}              // closed when a drain has started that ends with the process
	finished chan result                // what Shutdown came to
	shown    atomic.Pointer[shown]

	// Only Run and what it calls touch these.
	phase    Phase
	started  time.Time
	deadline time.Time
	exit     bool
	grace    <-chan time.Time   // fires when accepting ends; nil outside grace
	cancel   context.CancelFunc // calls the running Shutdown off; nil when none runs
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
}

// New makes a Machine that is serving. It does nothing before Run.
func New(c Config, target Target, log zerolog.Logger) *Machine {
	m := &Machine{
		config:   c,
		target:   target,
		log:      log.With().Str("component", "drain").Logger(),
		asks:     make(chan func(context.Context)),
		ended:    make(chan struct{}),
		done:     make(chan struct{}),
		exiting:  make(chan struct{}),
		finished: make(chan result, 1),
		phase:    Serving,
	}
	m.publish()
	return m
}

// Run runs the machine until ctx ends. When it returns no Shutdown of the
// target is running, and nothing was cut because ctx ended.
func (m *Machine) Run(ctx context.Context) error {
	defer close(m.ended)
	for {
		select {
		case <-ctx.Done():
			m.callOff()
			return nil
		case f := <-m.asks:
			f(ctx)
		case <-m.grace:
			m.shutDown(ctx)
		case r := <-m.finished:
			m.finish(r)
		}
	}
}

// Start starts a drain and returns without waiting for it. A drain that runs
// or is over keeps its start and deadline; Exit is the one thing that can be
// added to it: a drained process then exits at once. It waits for Run to run.
func (m *Machine) Start(o Options) State {
	m.ask(func(ctx context.Context) { m.start(ctx, o) })
	return m.State()
}

// Undo goes back to serving, with the listeners open when it returns. It
// returns ErrStopping when the drain ends with the process. When the target
// cannot resume, its error is returned and the drain goes on. It waits for Run
// to run.
func (m *Machine) Undo() (State, error) {
	err := ErrStopping // for when Run has returned
	m.ask(func(ctx context.Context) { err = m.undo(ctx) })
	return m.State(), err
}

// State is the state at the moment.
func (m *Machine) State() State {
	v := m.shown.Load()
	s := State{Phase: v.phase, Active: m.target.Active(), Accepting: v.accepting}
	if v.phase != Serving {
		s.Started, s.Deadline = rfc3339(v.started), rfc3339(v.deadline)
	}
	return s
}

// Draining says whether the process is in any phase but Serving.
func (m *Machine) Draining() bool { return m.shown.Load().phase != Serving }

// Done is closed when the process should exit: it has drained, and was told to.
func (m *Machine) Done() <-chan struct{} { return m.done }

// ask has Run call f and waits until it has. After Run has returned it does nothing.
func (m *Machine) ask(f func(context.Context)) {
	called := make(chan struct{})
	select {
	case m.asks <- func(ctx context.Context) { defer close(called); f(ctx) }:
		<-called
	case <-m.ended:
	}
}

func (m *Machine) publish() {
	m.shown.Store(&shown{
		phase:     m.phase,
		started:   m.started,
		deadline:  m.deadline,
		accepting: m.phase == Serving || m.grace != nil,
	})
}

// rfc3339 gives t the precision and zone in which it is shown.
func rfc3339(t time.Time) *time.Time {
	t = t.UTC().Truncate(time.Millisecond)
	return &t
}
