// Package hook runs a command of the operator's for what becomes of masters. It
// holds up nobody: who tells of an event leaves it in a queue, of which the
// oldest go first, and goes on.
package hook

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/events"
)

// Bounds of what is run.
const (
	atATime     = 4    // commands
	queueLength = 1024 // events that wait; what comes then is dropped
	patience    = 30 * time.Second
	endGrace    = 2 * time.Second // for commands that run when the process ends
	dropsEvery  = time.Second     // between two lines about events that were dropped
)

// wanted are the events for which the command is run.
var wanted = []string{"failover", "lost", "back", "pause", "activation"}

// Runner runs the command, for one event of a label at a time.
type Runner struct {
	command  string
	env      []string
	patience time.Duration
	log      zerolog.Logger
	wake     chan struct{} // holds one element while Run is to look

	mu      sync.Mutex
	waiting []events.Event  // the oldest first
	busy    map[string]bool // labels for which it runs
	running int
	dropped int
}

// New makes a Runner of a command of sh, which gets env and the facts of the event.
// It does nothing before Run.
func New(command string, env []string, log zerolog.Logger) *Runner {
	return &Runner{
		command: command, env: inherited(env), patience: patience, log: log,
		wake: make(chan struct{}, 1), busy: map[string]bool{},
	}
}

// Offer has the command run for e, if it is one of the events for which it is. It
// does not block.
func (r *Runner) Offer(e events.Event) {
	if !slices.Contains(wanted, e.Name) {
		return
	}
	r.mu.Lock()
	if len(r.waiting) < queueLength {
		r.waiting = append(r.waiting, e)
	} else {
		r.dropped++
	}
	r.mu.Unlock()
	r.look()
}

func (r *Runner) look() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run runs the command until ctx ends. Those that run then have endGrace to end;
// when Run returns none is left.
func (r *Runner) Run(ctx context.Context) {
	var commands sync.WaitGroup
	var report <-chan time.Time // fires when it is time to say what was dropped; nil: nothing was
	for {
		select {
		case <-ctx.Done():
			commands.Wait()
			r.dropWaiting()
			return
		case <-r.wake:
			for e, ok := r.next(); ok; e, ok = r.next() {
				commands.Go(func() { r.serve(ctx, e) })
			}
			if report == nil && r.hasDropped() {
				report = time.After(dropsEvery)
			}
		case <-report:
			report = nil
			r.reportDropped("too many of them wait")
		}
	}
}

// next takes the oldest event whose label has no command under way; false: there
// is none, or no room for a command more.
func (r *Runner) next() (e events.Event, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running == atATime {
		return e, false
	}
	at := slices.IndexFunc(r.waiting, func(e events.Event) bool { return !r.busy[e.Label()] })
	if at < 0 {
		return e, false
	}
	e = r.waiting[at]
	r.waiting = slices.Delete(r.waiting, at, at+1)
	r.busy[e.Label()] = true
	r.running++
	return e, true
}

// serve runs the command for e.
func (r *Runner) serve(ctx context.Context, e events.Event) {
	r.run(ctx, e)
	r.mu.Lock()
	delete(r.busy, e.Label())
	r.running--
	r.mu.Unlock()
	r.look()
}

func (r *Runner) hasDropped() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dropped > 0
}

// dropWaiting drops what waits at the end of the process.
func (r *Runner) dropWaiting() {
	r.mu.Lock()
	r.dropped += len(r.waiting)
	r.waiting = nil
	r.mu.Unlock()
	r.reportDropped("the process ends")
}

func (r *Runner) reportDropped(why string) {
	r.mu.Lock()
	n := r.dropped
	r.dropped = 0
	r.mu.Unlock()
	if n > 0 {
		r.log.Warn().Int("events", n).Str("reason", why).Msg("events without their command of --on-failover")
	}
}
