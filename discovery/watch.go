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
	config   Config // for this label
	observer *observer
	resolver *resolver
	outage   *outage
	log      zerolog.Logger

	answers chan answer
	verify  []chan struct{} // by agent; each holds one wish at most
	redial  chan struct{}   // holds one hint at most: dials to the master fail

	lookedUp candidate     // whose host name the resolver was given
	lease    time.Duration // what the sink was told last; 0: nothing
	grace    time.Time     // when an outage that is long enough is fenced; zero: there is none
	reported reported

	mu     sync.Mutex
	status LabelStatus
}

// fenceGrace is what an answer that has come may take to be looked at, on a
// machine that is busy, before an outage is fenced. Nothing is passed on
// meanwhile: the lease is over.
const fenceGrace = 200 * time.Millisecond

func newWatch(id int, l Label, c Config, agents []*agent, lookup lookupFunc, log zerolog.Logger) *watch {
	c = c.Of(l).withDefaults()
	w := &watch{
		id:       id,
		label:    l.Name,
		tags:     c.TagsOf(l),
		agents:   agents,
		config:   c,
		observer: newObserver(c, len(agents)),
		resolver: newResolver(lookup, c.ResolveTimeout, backoff{first: c.Backoff, most: c.BackoffMax}),
		outage:   newOutage(),
		log:      log.With().Str("label", l.Name).Logger(),
		answers:  make(chan answer),
		redial:   make(chan struct{}, 1),
		status:   LabelStatus{Label: l.Name, State: Starting, Source: SourceService},
	}
	for range agents {
		w.verify = append(w.verify, make(chan struct{}, 1))
	}
	return w
}

// run does what the observer orders until ctx ends.
func (w *watch) run(ctx context.Context, sink Sink) {
	defer w.resolver.close()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		var due <-chan time.Time
		if wait, ok := w.wait(); ok {
			timer.Reset(wait)
			due = timer.C
		}
		select {
		case <-ctx.Done():
			return
		case a := <-w.answers:
			w.take(ctx, a, sink)
		case f := <-w.resolver.results:
			w.resolved(f, sink)
		case <-w.redial:
			w.resolver.retry(ctx, w.observer.winner.host, w.observer.winner.port)
		case <-w.outage.changed:
			w.extend(sink)
		case <-due:
			// What waited while the sink was busy comes first: it may be
			// the answer whose absence is to be punished.
			select {
			case a := <-w.answers:
				w.take(ctx, a, sink)
			default:
				w.expire(ctx, sink)
			}
		}
	}
}

// take gives one answer to the observer and carries out what it orders.
func (w *watch) take(ctx context.Context, a answer, sink Sink) {
	o := w.observer.observe(a)
	if o.reset {
		w.agents[a.agent].health.reset()
		w.log.Debug().Str("consul", w.agents[a.agent].endpoint.name).Uint64("index", a.index).Msg("raft index went backwards")
	}
	if o.verify {
		w.verifyAt(a.agent)
	}
	if o.answered {
		w.outage.end(a.begun)
		w.grace = time.Time{}
	}
	w.report()
	w.apply(o, sink)
	w.follow(ctx)
}

// follow has the host name of the winner looked up, when that is another one
// or its registration has changed.
func (w *watch) follow(ctx context.Context) {
	if c := w.observer.winner; c != w.lookedUp {
		w.lookedUp = c
		w.resolver.start(ctx, c.host)
	}
}

// resolved takes what the resolver found. While a name cannot be looked up, it
// stands for what it stood for last.
func (w *watch) resolved(f lookupResult, sink Sink) {
	if !w.resolver.accept(f) {
		return
	}
	w.reported.lookup(w.log, f, w.resolver.known[f.host])
	w.apply(w.observer.resolved(w.resolver.known[f.host], f.at), sink)
}

// apply tells the sink. The status says that there is a master only after the
// sink has taken it, and that there is none before.
func (w *watch) apply(o order, sink Sink) {
	if o.answered || o.do == setMaster {
		w.extend(sink)
	}
	switch o.do {
	case setMaster:
		sink.SetMaster(w.label, o.master)
		w.publish()
	case clearMaster, cutMaster:
		w.publish()
		sink.ClearMaster(w.label, Loss{State: w.observer.state, Cut: o.do == cutMaster})
	default:
		w.publish()
	}
	if o.confirm > 0 {
		sink.Confirm(w.label, o.confirm)
	}
}

// fenceDue answers when the outage of now is long enough to be fenced, since
// boot; 0: there is none, or the policy is another.
func (w *watch) fenceDue() time.Duration {
	if w.config.OnOutage != Fence || w.observer.state == Starting || w.observer.state == Unreachable {
		return 0
	}
	if first, _ := w.outage.since(); first > 0 {
		return first + w.config.FenceAfter
	}
	return 0
}

// extend tells the sink how long the lease lasts that the last answer gave:
// until the outage is long enough that began with the first read unanswered
// since, or with the next one.
func (w *watch) extend(sink Sink) {
	if w.config.OnOutage != Fence || w.observer.state == Unreachable {
		return
	}
	first, answered := w.outage.since()
	if answered == 0 {
		return
	}
	if next := answered + w.config.VerifyEvery*5/4; first == 0 || first > next {
		first = next
	}
	if until := first + w.config.FenceAfter; until != w.lease {
		w.lease = until
		sink.Lease(w.label, until)
	}
}

// wait answers how long until expire has something to do; false: nothing
// before the next answer.
func (w *watch) wait() (time.Duration, bool) {
	if !w.grace.IsZero() {
		return time.Until(w.grace), true
	}
	due := w.fenceDue()
	return due - sinceBoot(), due > 0
}

// expire fences an outage that has lasted for long enough, after a last look
// at every address.
func (w *watch) expire(ctx context.Context, sink Sink) {
	due := w.fenceDue()
	switch {
	case due == 0 || sinceBoot() < due:
		w.grace = time.Time{}
	case w.grace.IsZero():
		w.grace = time.Now().Add(fenceGrace)
		w.verifyAll()
	case !time.Now().Before(w.grace):
		w.grace = time.Time{}
		w.apply(order{do: w.observer.fence()}, sink)
		w.follow(ctx)
	}
}

// verifyAt asks for a consistent read of one address, at once.
func (w *watch) verifyAt(agent int) { signal(w.verify[agent]) }

// verifyAll asks for a consistent read of every address, at once.
func (w *watch) verifyAll() {
	for i := range w.verify {
		w.verifyAt(i)
	}
}

// dialFailed takes the hint that the master does not accept connections.
func (w *watch) dialFailed() { signal(w.redial) }

func (w *watch) publish() {
	status := LabelStatus{Label: w.label, State: w.observer.state, MastersSeen: w.observer.seen, Source: SourceService}
	if status.State == None {
		status.Failing = slices.Clip(w.observer.failing[:min(len(w.observer.failing), maxFailing)])
	}
	w.mu.Lock()
	w.status = status
	w.mu.Unlock()
}

func (w *watch) snapshot() LabelStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status
}
