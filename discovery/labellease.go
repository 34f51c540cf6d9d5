package discovery

import (
	"context"
	"slices"
	"time"

	"github.com/rosproxy/rosproxy/discovery/internal/clock"
)

// fenceGrace is what an answer that has come may take to be looked at, on a
// machine that is busy, before an outage is fenced. Nothing is passed on
// meanwhile: the lease is over.
const fenceGrace = 200 * time.Millisecond

// fenceDue answers when the outage of now is long enough to be fenced, since
// boot; 0: there is none, or the policy is another.
func (w *labelWatch) fenceDue() time.Duration {
	if w.config.OnOutage != Fence || w.main == nil || w.mastership.state == Starting || w.mastership.state == Unreachable {
		return 0
	}
	if first, _ := w.outage(); first > 0 {
		return first + w.config.FenceAfter
	}
	return 0
}

// outageLease is how long the lease lasts that the last answer gave: until the
// outage is long enough that began with the first read unanswered since, or with
// the next one. 0: an outage is not fenced, or is.
func (w *labelWatch) outageLease() time.Duration {
	if w.config.OnOutage != Fence || w.main == nil || w.mastership.state == Unreachable {
		return 0
	}
	first, answered := w.outage()
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
	if w.reports != nil {
		switch ends := w.reports.lease(w.label); {
		case ends == 0:
			return
		case until == 0 || ends < until:
			until = ends
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
		waits = append(waits, due-clock.SinceBoot())
	}
	for _, at := range []time.Time{w.mastership.cutAt, w.reread} {
		if !at.IsZero() {
			waits = append(waits, time.Until(at))
		}
	}
	if w.reports != nil && w.reports.ends > 0 {
		waits = append(waits, w.reports.ends-clock.SinceBoot())
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
	case due == 0 || clock.SinceBoot() < due:
		w.grace = time.Time{}
	case w.grace.IsZero():
		w.grace = now.Add(fenceGrace)
		w.verify()
	case !now.Before(w.grace):
		w.grace, w.fencedRead = time.Time{}, w.seeMain().begun
		if w.hasSeveralDatacenters() {
			w.fencedAt = clock.SinceBoot()
		}
		w.apply(w.mastership.fence(), sink)
		w.follow(ctx)
	}
}

// outage is the worst of what must be read: when the first read began that is
// unanswered, and 0 where there is none; and when the newest one began that was
// answered. Where there are several data centres, their entries must be read as well:
// an isolated one that is to fence an outage takes that for one.
func (w *labelWatch) outage() (first, answered time.Duration) {
	if w.main == nil {
		return 0, 0
	}
	first, answered = w.main.watch.outage.since()
	if w.hasSeveralDatacenters() && w.config.OnOutage == Fence {
		f, a := w.source.active.outage(w.source.active.see())
		if f > 0 && (first == 0 || f < first) {
			first = f
		}
		answered = min(answered, a)
	}
	return first, answered
}

// isFencedStill reports whether an outage was fenced and nothing has been read since
// that must be.
func (w *labelWatch) isFencedStill(v view) bool {
	if w.mastership.state != Unreachable {
		return false
	}
	if v.begun <= w.fencedRead {
		return true
	}
	if w.fencedAt > 0 {
		f := w.source.active.see().follower
		if len(f.Unread(w.fencedAt)) > 0 {
			return true
		}
		w.fencedAt = 0
	}
	return false
}
