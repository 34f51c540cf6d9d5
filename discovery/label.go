package discovery

import (
	"context"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/discovery/internal/hostname"
	"github.com/rosproxy/rosproxy/discovery/internal/waiting"
)

// labelWatch is one label being followed. Its goroutine owns who is master of it, and
// alone calls the sink for it, so that those calls never overlap. It looks at
// the newest view of what it subscribed to: there is no queue that could go stale.
type labelWatch struct {
	label      string
	source     *Consul
	config     Config // for this label
	mastership mastership
	choice     service // by a service
	leader     *leader // by a leader key; nil: by a service
	log        zerolog.Logger

	interest interest      // what main tells, in whichever data centre
	main     *subscription // to the service, or to the leader key; nil: no data centre is to be asked
	member   *subscription // to the member that holds the key; nil: not needed
	catalog  *subscription // to the instances among which the leader must be; nil: not needed
	changed  chan struct{} // holds one element while one of them has something new

	location location      // where the master is, as far as that is known
	reports  *labelReports // nil: what is obeyed is not reported

	resolver *resolver
	lookedUp candidate // whose host name the resolver was given
	prober   *prober
	redial   chan struct{} // holds one hint at most: dials to the master fail

	last       view          // of main, that was looked at
	confirmed  time.Duration // what the sink was told last
	lease      time.Duration // the same; 0: nothing
	grace      time.Time     // when an outage that is long enough is fenced; zero: there is none
	fencedRead time.Duration // main's newest read when an outage was fenced: only a newer one ends that
	fencedAt   time.Duration // when that was, of the entries of several data centres, since boot; 0: no need
	reread     time.Time     // when the member is to be read again, since it says nothing of use; zero: no need
	elected    time.Time     // since when the member's word is awaited
	logged     logged

	mu     sync.Mutex
	status LabelStatus
	asking *watch // of main; nil: no data centre is to be asked
}

func newLabelWatch(l Label, i interest, s *Consul, lookup hostname.LookupFunc, log zerolog.Logger) *labelWatch {
	c := s.config.Of(l).withDefaults()
	w := &labelWatch{
		label:      l.Name,
		source:     s,
		interest:   i,
		config:     c,
		mastership: newMastership(c),
		log:        log.With().Str("label", l.Name).Logger(),
		changed:    make(chan struct{}, 1),
		resolver:   newResolver(lookup, c.ResolveTimeout, waiting.Backoff{First: c.Backoff, Most: c.BackoffMax}),
		prober:     newProber(),
		redial:     make(chan struct{}, 1),
		status:     LabelStatus{Label: l.Name, State: Starting, Source: SourceService},
	}
	if l.Leader != nil {
		w.leader = &leader{key: *l.Leader}
		w.status.Source, w.status.Leader = SourceLeaderKey, &LeaderStatus{Key: l.Leader.Key}
	}
	w.forget()
	if c.Reports != nil {
		w.reports = newLabelReports(w)
	}
	if w.hasSeveralDatacenters() {
		s.active.add(c, w.changed)
	} else {
		w.main = s.subscribe(i, c, w.changed)
		w.asking = w.main.watch
	}
	return w
}

// forget begins anew with who is master: nothing was heard of that yet.
func (w *labelWatch) forget() {
	w.choice = service{conflict: w.config.OnConflict, mastership: &w.mastership}
	if l := w.leader; l != nil {
		w.leader = &leader{key: l.key, mastership: &w.mastership, term: l.term + 1}
	}
	w.last = view{}
}

// run does what follows from the views until ctx ends.
func (w *labelWatch) run(ctx context.Context, sink Sink) {
	defer w.end()
	if w.reports != nil {
		w.verify() // it joins the report by a consistent read
	}
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
		case <-w.changed:
			w.look(ctx, sink)
		case r := <-w.resolver.results:
			w.resolved(ctx, r, sink)
		case r := <-w.prober.results:
			w.leader.takeProbe(r.term, r.why)
			w.look(ctx, sink)
		case <-w.redial:
			w.retry(ctx)
		case <-due:
			// What came while the sink was busy comes first: it may be the
			// answer whose absence is to be punished.
			w.look(ctx, sink)
			w.expire(ctx, sink)
		}
	}
}

// end gives back what the label holds.
func (w *labelWatch) end() {
	w.resolver.close()
	w.prober.close()
	for _, s := range []*subscription{w.main, w.member, w.catalog} {
		w.source.unsubscribe(s)
	}
}

// look takes the present views and carries out what follows.
func (w *labelWatch) look(ctx context.Context, sink Sink) {
	w.locate(ctx, sink)
	v := w.seeMain()
	if first, _ := w.outage(); first == 0 {
		w.grace = time.Time{}
	}
	if w.reports != nil && !w.mayServe(v, sink) || w.main == nil {
		w.publish()
		return
	}
	w.extend(sink)
	if w.isFencedStill(v) {
		w.publish()
		return // reads went unanswered, and only a read ends that
	}
	if w.isConfirmation(v) {
		w.confirm(v.begun, sink)
		if w.reports != nil {
			w.obey(order{learnt: true}, v)
		}
		return
	}
	o := w.choose(v)
	w.apply(o, sink)
	if w.reports != nil {
		if w.mastership.isNameless() { // the election of another cuts at once
			w.apply(w.mastership.oustForSuccessor(), sink)
		}
		w.obey(o, v)
	}
	w.subscribeToHolder()
	w.follow(ctx)
}

// seeMain answers the present view of the service or the leader key.
func (w *labelWatch) seeMain() view {
	if w.main == nil {
		return view{}
	}
	return w.main.see()
}

// verify asks for a consistent read of all that says where the master is.
func (w *labelWatch) verify() { w.verifier()() }

// verifier is verify for another goroutine.
func (w *labelWatch) verifier() func() {
	main, active := w.main, w.source.active
	if !w.hasSeveralDatacenters() {
		return main.watch.verifyAll
	}
	return func() {
		if main != nil {
			main.watch.verifyAll()
		}
		active.verifyAll()
	}
}

// isConfirmation reports whether v says of a service what the last view said,
// and who is master by that. Of a thousand labels nearly all learn no more from
// a read.
func (w *labelWatch) isConfirmation(v view) bool {
	last := w.last
	w.last, last.begun, last.index = v, v.begun, v.index
	return w.leader == nil && v == last && v.begun > 0 && w.mastership.state == Found && w.mastership.address.IsValid()
}

// confirm tells the sink as of when the present master is known to be right.
func (w *labelWatch) confirm(begun time.Duration, sink Sink) {
	w.mastership.begun = begun
	if begun > w.confirmed {
		w.confirmed = begun
		sink.Confirm(w.label, begun)
	}
}

// follow has looked up and probed what that must be: the host name of the
// winner, when that is another one or its registration has changed, and the
// REST API of a leader that is not ready.
func (w *labelWatch) follow(ctx context.Context) {
	c := w.mastership.winner
	if w.leader != nil {
		url, term := w.leader.asksAPI()
		w.prober.ask(ctx, url, term)
		if host := w.leader.host(); c.host == "" && host != "" {
			c = candidate{host: host, modify: uint64(w.leader.term)}
		}
		w.awaitMember()
	}
	if c != w.lookedUp {
		w.lookedUp = c
		w.resolver.start(ctx, c.host)
	}
}

// awaitMember has the member read again, soon at first, while it does not say
// where the leader is.
func (w *labelWatch) awaitMember() {
	if w.member == nil || w.leader.member.hasAddress() {
		w.reread = time.Time{}
	} else if w.reread.IsZero() {
		w.reread = time.Now().Add(probePace(time.Since(w.elected)))
	}
}

// resolved takes what the resolver found. While a name cannot be looked up, it
// stands for what it stood for last.
func (w *labelWatch) resolved(ctx context.Context, r lookupResult, sink Sink) {
	if !w.resolver.accept(r) {
		return
	}
	addr := w.resolver.known[r.host]
	w.logged.lookup(w.log, r, addr)
	if w.mastership.winner.host == r.host {
		w.apply(w.mastership.resolved(addr, r.at), sink)
	}
	w.look(ctx, sink)
}

// retry takes the hint that dials to the master fail.
func (w *labelWatch) retry(ctx context.Context) {
	w.resolver.retry(ctx, w.mastership.winner.host, w.mastership.winner.port)
	if w.member != nil {
		w.member.watch.verifyAll()
	}
}

// apply tells the sink. The status says that there is a master only after the
// sink has taken it, and that there is none before.
func (w *labelWatch) apply(o order, sink Sink) {
	if o.do == setMaster {
		w.extend(sink)
	}
	switch o.do {
	case setMaster:
		sink.SetMaster(w.label, o.master)
		w.publish()
	case clearMaster, cutMaster:
		w.publish()
		sink.ClearMaster(w.label, Loss{State: w.mastership.state, Why: w.mastership.why, Cut: o.do == cutMaster})
	default:
		w.publish()
	}
	if o.confirm > 0 {
		w.confirm(o.confirm, sink)
	}
	w.logTrouble()
}

// dialFailed takes the hint that the master does not accept connections.
func (w *labelWatch) dialFailed() { waiting.Signal(w.redial) }
