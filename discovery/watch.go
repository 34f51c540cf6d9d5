package discovery

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// watch is one label being watched. Its goroutine owns the observer and alone
// calls the sink, so that the calls for one label never overlap. The answers
// are handed over one at a time: there is no queue that could go stale.
type watch struct {
	id       int
	label    string
	tags     []string
	agents   []*agent
	names    *names
	observer *observer
	log      zerolog.Logger

	answers chan answer
	verify  []chan struct{} // by agent; each holds one wish at most

	conflict bool     // the log says that several claim to be master
	invalid  []string // whose claims the log says cannot be followed

	mu     sync.Mutex
	status LabelStatus
}

func newWatch(id int, l Label, c Config, agents []*agent, lookup lookupFunc, log zerolog.Logger) *watch {
	w := &watch{
		id:       id,
		label:    l.Name,
		tags:     c.tags(l),
		agents:   agents,
		names:    newNames(len(agents), lookup, c.ResolveTimeout),
		observer: newObserver(c, len(agents)),
		log:      log.With().Str("label", l.Name).Logger(),
		answers:  make(chan answer),
		status:   LabelStatus{Label: l.Name, State: Starting},
	}
	for range agents {
		w.verify = append(w.verify, make(chan struct{}, 1))
	}
	return w
}

// run obeys the observer until ctx ends.
func (w *watch) run(ctx context.Context, sink Sink) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		var due <-chan time.Time
		if d := w.observer.deadline(); !d.IsZero() {
			timer.Reset(time.Until(d))
			due = timer.C
		}
		select {
		case <-ctx.Done():
			return
		case a := <-w.answers:
			w.take(a, sink)
		case <-due:
			// What waited while the sink was busy comes first: it may be
			// the answer whose absence this timer punishes.
			select {
			case a := <-w.answers:
				w.take(a, sink)
			default:
				w.obey(order{do: w.observer.tick(time.Now())}, sink)
			}
		}
	}
}

// take gives one answer to the observer and carries out what it orders.
func (w *watch) take(a answer, sink Sink) {
	o := w.observer.observe(a)
	if o.reset {
		w.agents[a.agent].health.reset()
		w.log.Debug().Str("consul", w.agents[a.agent].endpoint.name).Uint64("index", a.index).Msg("raft index went backwards")
	}
	if o.verify {
		select {
		case w.verify[a.agent] <- struct{}{}:
		default: // wished already
		}
	}
	w.report()
	w.obey(o, sink)
}

// obey tells the sink. The status says that there is a master only after the
// sink has taken it, and that there is none before.
func (w *watch) obey(o order, sink Sink) {
	switch o.do {
	case setMaster:
		sink.SetMaster(w.label, o.master)
		w.publish()
	case clearMaster, cutMaster:
		w.publish()
		sink.ClearMaster(w.label, o.do == cutMaster)
	default:
		w.publish()
	}
}

// report logs what an operator should look at: once when it begins, and once
// when it is over.
func (w *watch) report() {
	if conflict := w.observer.seen > 1; conflict != w.conflict {
		w.conflict = conflict
		if conflict {
			w.log.Warn().Int("masters_seen", w.observer.seen).Msg("several instances claim to be master")
		} else {
			w.log.Info().Int("masters_seen", w.observer.seen).Msg("no longer several masters")
		}
	}
	var who, all []string
	for _, r := range w.observer.rejects {
		who, all = append(who, r.who), append(all, r.String())
	}
	slices.Sort(who) // the order of an answer is arbitrary, and the reasons (of a resolver) vary
	if !slices.Equal(who, w.invalid) {
		w.invalid = who
		if len(all) > 0 {
			w.log.Warn().Strs("invalid", all[:min(len(all), 10)]).Msg("invalid master")
		}
	}
}

func (w *watch) publish() {
	w.mu.Lock()
	w.status.State, w.status.MastersSeen = w.observer.state, w.observer.seen
	w.mu.Unlock()
}

func (w *watch) snapshot() LabelStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status
}
