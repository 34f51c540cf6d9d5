package discovery

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// labelWatch is one label being followed. Its goroutine owns who is master of it, and
// alone calls the sink for it, so that those calls never overlap. It looks at
// the newest view of what it subscribed to: there is no queue that could go stale.
type labelWatch struct {
	label  string
	source *Consul
	config Config // for this label
	office office
	choice service // by a service
	leader *leader // by a leader key; nil: by a service
	log    zerolog.Logger

	main    *subscription // to the service, or to the leader key
	member  *subscription // to the member that holds the key; nil: not needed
	catalog *subscription // to the instances among which the leader must be; nil: not needed
	changed chan struct{} // holds one element while one of them has something new

	resolver   *resolver
	lookedUp   candidate // whose host name the resolver was given
	prober     *prober
	reporter   *reporter     // nil: what is obeyed is not reported
	reportEnds time.Duration // when the report's lease ends, since boot; 0: there is none
	left       time.Duration // main's newest read when the label left the report: it joins on a newer one
	redial     chan struct{} // holds one hint at most: dials to the master fail

	last       view          // of main, that was looked at
	confirmed  time.Duration // what the sink was told last
	lease      time.Duration // the same; 0: nothing
	grace      time.Time     // when an outage that is long enough is fenced; zero: there is none
	fencedRead time.Duration // main's newest read when an outage was fenced: only a newer one ends that
	reread     time.Time     // when the member is to be read again, since it says nothing of use; zero: no need
	elected    time.Time     // since when the member's word is awaited
	reported   reported

	mu     sync.Mutex
	status LabelStatus
}

// fenceGrace is what an answer that has come may take to be looked at, on a
// machine that is busy, before an outage is fenced. Nothing is passed on
// meanwhile: the lease is over.
const fenceGrace = 200 * time.Millisecond

func newLabelWatch(l Label, s *Consul, lookup lookupFunc, log zerolog.Logger) *labelWatch {
	c := s.config.Of(l).withDefaults()
	w := &labelWatch{
		label:    l.Name,
		source:   s,
		config:   c,
		office:   newOffice(c),
		log:      log.With().Str("label", l.Name).Logger(),
		changed:  make(chan struct{}, 1),
		resolver: newResolver(lookup, c.ResolveTimeout, backoff{first: c.Backoff, most: c.BackoffMax}),
		prober:   newProber(),
		redial:   make(chan struct{}, 1),
		status:   LabelStatus{Label: l.Name, State: Starting, Source: SourceService},
	}
	w.choice = service{conflict: c.OnConflict, office: &w.office}
	if l.Leader != nil {
		w.leader = &leader{key: *l.Leader, office: &w.office}
		w.status.Source, w.status.Leader = SourceLeaderKey, &LeaderStatus{Key: l.Leader.Key}
	}
	return w
}

// run does what follows from the views until ctx ends.
func (w *labelWatch) run(ctx context.Context, sink Sink) {
	defer w.end()
	if w.reporter != nil {
		w.main.watch.verifyAll() // it joins the report by a consistent read
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
	v := w.main.see()
	if first, _ := w.main.watch.outage.since(); first == 0 {
		w.grace = time.Time{}
	}
	if w.reporter != nil && !w.mayServe(v, sink) {
		w.publish()
		return
	}
	w.extend(sink)
	if w.office.state == Unreachable && v.begun <= w.fencedRead {
		w.publish()
		return // reads went unanswered, and only a read ends that
	}
	if w.isConfirmation(v) {
		w.confirm(v.begun, sink)
		if w.reporter != nil {
			w.obey(order{learnt: true}, v)
		}
		return
	}
	o := w.choose(v)
	w.apply(o, sink)
	if w.reporter != nil {
		if w.office.isNameless() { // the election of another cuts at once
			w.apply(w.office.unseat(), sink)
		}
		w.obey(o, v)
	}
	w.subscribeToHolder()
	w.follow(ctx)
}

// mayServe reports whether what v says may be acted on: by a report that stands,
// on a read that began afterwards. A lapse comes before everything else.
func (w *labelWatch) mayServe(v view, sink Sink) bool {
	s := w.reporter.look(w.label, v.begun)
	w.reportEnds = s.ends
	if s.over {
		w.apply(w.office.oust(Unreachable, reasonLease), sink)
		w.reporter.leave(w.label)
		w.left = v.begun
		w.main.watch.verifyAll() // it may join again on what that says
		return false
	}
	if !s.joined && v.kind != unknown && v.begun > w.left {
		w.reporter.join(w.label, v.index, w.changed, w.main.watch.verifyAll)
	}
	if !s.mayServe && w.office.state == Found {
		w.apply(w.office.oust(Unreachable, reasonLease), sink) // the report is another one
	}
	return s.mayServe
}

// reasonLease is why there is no master when the lease of a report has lapsed.
const reasonLease = "lease"

// obey reports that everything has been done that follows from v.
func (w *labelWatch) obey(o order, v view) {
	if !o.learnt {
		return
	}
	master := ""
	if w.office.state == Found {
		master = w.office.address.String()
	}
	w.reporter.obey(w.label, v.index, master)
}

// isConfirmation reports whether v says of a service what the last view said,
// and who is master by that. Of a thousand labels nearly all learn no more from
// a read.
func (w *labelWatch) isConfirmation(v view) bool {
	last := w.last
	w.last, last.begun, last.index = v, v.begun, v.index
	return w.leader == nil && v == last && v.begun > 0 && w.office.state == Found && w.office.address.IsValid()
}

// confirm tells the sink as of when the present master is known to be right.
func (w *labelWatch) confirm(begun time.Duration, sink Sink) {
	w.office.begun = begun
	if begun > w.confirmed {
		w.confirmed = begun
		sink.Confirm(w.label, begun)
	}
}

func (w *labelWatch) choose(v view) order {
	if w.leader == nil {
		return w.choice.look(v, time.Now())
	}
	e := evidence{hosts: w.resolver.known}
	if w.member != nil {
		e.memberKey, e.member = w.member.watch.question.key, w.member.see()
	}
	if w.catalog != nil {
		e.catalog = w.catalog.see()
	}
	before := w.leader.term
	o := w.leader.look(v, e, time.Now())
	if w.leader.term != before {
		w.elected = time.Now()
	}
	return o
}

// subscribeToHolder asks for what must be known of the leader: its member while
// it holds the key, the instances of the service until it is ready.
func (w *labelWatch) subscribeToHolder() {
	if w.leader == nil {
		return
	}
	if key := w.leader.memberKey(); w.member == nil && key != "" || w.member != nil && w.member.watch.question.key != key {
		w.source.unsubscribe(w.member)
		w.member = nil
		if key != "" {
			q := aboutKey(w.config.Datacenter, key)
			q.seldom = true
			w.member = w.source.subscribe(interest{question: q}, w.changed)
		}
	}
	switch asks := w.leader.asksCatalog(); {
	case asks && w.catalog == nil:
		w.catalog = w.source.subscribe(interest{question: w.catalogQuestion()}, w.changed)
	case !asks && w.catalog != nil:
		w.source.unsubscribe(w.catalog)
		w.catalog = nil
	}
}

// catalogQuestion is about the instances among which a leader must be.
func (w *labelWatch) catalogQuestion() question {
	return aboutService(w.config.Datacenter, w.config.Service, w.config.Tags)
}

// follow has looked up and probed what that must be: the host name of the
// winner, when that is another one or its registration has changed, and the
// REST API of a leader that is not ready.
func (w *labelWatch) follow(ctx context.Context) {
	c := w.office.winner
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
	if w.member == nil || w.leader.member.isPlaced() {
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
	w.reported.lookup(w.log, r, addr)
	if w.office.winner.host == r.host {
		w.apply(w.office.resolved(addr, r.at), sink)
	}
	w.look(ctx, sink)
}

// retry takes the hint that dials to the master fail.
func (w *labelWatch) retry(ctx context.Context) {
	w.resolver.retry(ctx, w.office.winner.host, w.office.winner.port)
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
		sink.ClearMaster(w.label, Loss{State: w.office.state, Why: w.office.why, Cut: o.do == cutMaster})
	default:
		w.publish()
	}
	if o.confirm > 0 {
		w.confirm(o.confirm, sink)
	}
	w.report()
}

// fenceDue answers when the outage of now is long enough to be fenced, since
// boot; 0: there is none, or the policy is another.
func (w *labelWatch) fenceDue() time.Duration {
	if w.config.OnOutage != Fence || w.office.state == Starting || w.office.state == Unreachable {
		return 0
	}
	if first, _ := w.main.watch.outage.since(); first > 0 {
		return first + w.config.FenceAfter
	}
	return 0
}

// outageLease is how long the lease lasts that the last answer gave: until the
// outage is long enough that began with the first read unanswered since, or with
// the next one. 0: an outage is not fenced, or is.
func (w *labelWatch) outageLease() time.Duration {
	if w.config.OnOutage != Fence || w.office.state == Unreachable {
		return 0
	}
	first, answered := w.main.watch.outage.since()
	if answered == 0 {
		return 0
	}
	if next := answered + w.config.VerifyEvery*5/4; first == 0 || first > next {
		first = next
	}
	return first + w.config.FenceAfter
}

// extend tells the sink how long the lease lasts: that of the outage policy, and
// that of the report.
func (w *labelWatch) extend(sink Sink) {
	until := w.outageLease()
	if w.reporter != nil {
		switch s := w.reporter.look(w.label, 0); {
		case s.ends == 0:
			return
		case until == 0 || s.ends < until:
			until = s.ends
		}
	}
	if until != 0 && until != w.lease {
		w.lease = until
		sink.Lease(w.label, until)
	}
}

// wait answers how long until expire has something to do; false: nothing
// before the next answer.
func (w *labelWatch) wait() (time.Duration, bool) {
	var waits []time.Duration
	if due := w.fenceDue(); !w.grace.IsZero() {
		waits = append(waits, time.Until(w.grace))
	} else if due > 0 {
		waits = append(waits, due-sinceBoot())
	}
	for _, at := range []time.Time{w.office.cutAt, w.reread} {
		if !at.IsZero() {
			waits = append(waits, time.Until(at))
		}
	}
	if w.reportEnds > 0 {
		waits = append(waits, w.reportEnds-sinceBoot())
	}
	if len(waits) == 0 {
		return 0, false
	}
	return slices.Min(waits), true
}

// expire does what is due: an outage that has lasted for long enough is fenced,
// after a last look at every address; a master that has been lost for long
// enough is cut off; a member is read again.
func (w *labelWatch) expire(ctx context.Context, sink Sink) {
	now := time.Now()
	if !w.reread.IsZero() && !now.Before(w.reread) {
		w.reread = time.Time{}
		w.member.watch.verifyAll()
		w.awaitMember()
	}
	w.apply(w.office.expire(now), sink)
	due := w.fenceDue()
	switch {
	case due == 0 || sinceBoot() < due:
		w.grace = time.Time{}
	case w.grace.IsZero():
		w.grace = now.Add(fenceGrace)
		w.main.watch.verifyAll()
	case !now.Before(w.grace):
		w.grace, w.fencedRead = time.Time{}, w.main.see().begun
		w.apply(w.office.fence(), sink)
		w.follow(ctx)
	}
}

// dialFailed takes the hint that the master does not accept connections.
func (w *labelWatch) dialFailed() { signal(w.redial) }

func (w *labelWatch) publish() {
	status := LabelStatus{Label: w.label, State: w.office.state, Source: SourceService, Why: w.office.why}
	switch {
	case w.leader != nil:
		status.Source, status.Leader = SourceLeaderKey, w.leader.status()
		if status.State == Found {
			status.MastersSeen = 1
		}
	default:
		status.MastersSeen = w.choice.seen
		if c := w.choice.claims; status.State == None && c != nil {
			status.Failing = slices.Clip(c.failing[:min(len(c.failing), maxFailing)])
		}
	}
	if status.State != Found && status.Why == "" {
		status.Why = w.main.see().denied
	}
	if w.reporter != nil {
		status.Report = w.reporter.status(w.label)
		if status.State != Found && status.State != None && status.Report.Lease == 0 {
			status.Why = whyUnreported(status)
		}
	}
	w.mu.Lock()
	w.status = status
	w.mu.Unlock()
}

// whyUnreported says why a label has no master whose report does not stand.
func whyUnreported(s LabelStatus) string {
	switch {
	case s.Why == reasonLease && s.Report.Error != "":
		return "the lease of its fence report is over: " + s.Report.Error
	case s.Why == reasonLease:
		return "the lease of its fence report is over"
	}
	return cmp.Or(s.Why, s.Report.Error, "its fence report does not stand yet")
}

func (w *labelWatch) snapshot() LabelStatus {
	w.mu.Lock()
	status := w.status
	w.mu.Unlock()
	if w.reporter != nil {
		status.Report = w.reporter.status(w.label) // it rises without anything else that changes
	}
	return status
}
