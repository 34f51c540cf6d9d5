package discovery

import (
	"context"
	"slices"
	"time"
)

// fenceGrace is what an answer that has come may take to be looked at, on a
// machine that is busy, before an outage is fenced. Nothing is passed on
// meanwhile: the lease is over.
const fenceGrace = 200 * time.Millisecond

// fenceDue answers when the outage of now is long enough to be fenced, since
// boot; 0: there is none, or the policy is another.
func (w *labelWatch) fenceDue() time.Duration {
	if w.config.OnOutage != Fence || w.mastership.state == Starting || w.mastership.state == Unreachable {
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
	if w.config.OnOutage != Fence || w.mastership.state == Unreachable {
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
	for _, at := range []time.Time{w.mastership.cutAt, w.reread} {
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
	w.apply(w.mastership.expire(now), sink)
	due := w.fenceDue()
	switch {
	case due == 0 || sinceBoot() < due:
		w.grace = time.Time{}
	case w.grace.IsZero():
		w.grace = now.Add(fenceGrace)
		w.main.watch.verifyAll()
	case !now.Before(w.grace):
		w.grace, w.fencedRead = time.Time{}, w.main.see().begun
		w.apply(w.mastership.fence(), sink)
		w.follow(ctx)
	}
}

// mayServe reports whether what v says may be acted on: by a report that stands,
// on a read that began afterwards. A lapse comes before everything else.
func (w *labelWatch) mayServe(v view, sink Sink) bool {
	s := w.reporter.look(w.label, v.begun)
	w.reportEnds = s.ends
	if s.over {
		w.apply(w.mastership.oust(Unreachable, reasonLease), sink)
		w.reporter.leave(w.label)
		w.left = sinceBoot()
		w.lookedUp = candidate{} // the address that its host name stands for is forgotten
		w.main.watch.verifyAll() // it may join again on what that says
		return false
	}
	if !s.joined && v.kind != unknown && v.begun > w.left {
		w.reporter.join(w.label, v.index, w.changed, w.main.watch.verifyAll)
	}
	if !s.mayServe && w.mastership.state == Found {
		w.apply(w.mastership.oust(Unreachable, reasonLease), sink) // the report is another one
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
	if w.mastership.state == Found {
		master = w.mastership.address.String()
	}
	w.reporter.obey(w.label, v.index, master)
}
