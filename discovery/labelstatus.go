package discovery

import (
	"cmp"
	"slices"

	"github.com/rosproxy/rosproxy/discovery/internal/clock"
)

// publish makes known what the label is, for snapshot.
func (w *labelWatch) publish() {
	status := LabelStatus{Label: w.label, State: w.mastership.state, Source: SourceService, Why: w.mastership.why}
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
	if m := &w.mastership; status.State != Found && m.isUnnamed() {
		status.Why = whyUnnamed(m.winner.host, w.logged.unknown == m.winner.host)
	} else if status.State != Found && status.Why == "" {
		status.Why = w.seeMain().denied
	}
	if w.reports != nil {
		status.Report = w.reports.status(w.label)
		if status.State == Starting || status.State == Unreachable || status.State == Conflict {
			status.Why = w.whyUnreported(status)
		}
	}
	w.mu.Lock()
	w.status, w.asking = status, nil
	if w.main != nil {
		w.asking = w.main.watch
	}
	w.mu.Unlock()
}

// whyUnreported says why a label has no master whose report does not stand, or not
// yet with what it must have read since.
func (w *labelWatch) whyUnreported(s LabelStatus) string {
	unread := w.reports.whyUncleared(w)
	switch {
	case s.Why == reasonLease:
		why := "the lease of its fence report is over"
		if more := cmp.Or(s.Report.Error, unread, w.whyUnread()); more != "" {
			why += ": " + more
		}
		return why
	case s.Report.Lease == 0:
		return cmp.Or(s.Why, s.Report.Error, unread, w.whyUnread(), "its fence report does not stand yet")
	}
	return cmp.Or(s.Why, unread)
}

// whyUnread says why who is master cannot be read; empty: it can, as far as is known.
func (w *labelWatch) whyUnread() string {
	if denied := w.seeMain().denied; denied != "" {
		return denied
	}
	if first, _ := w.outage(); first > 0 && clock.SinceBoot()-first > w.config.VerifyEvery { // else it is on its way
		why := "no consistent read of who is master is answered"
		if trouble := w.main.watch.trouble(); trouble != "" {
			why += ": " + trouble
		}
		return why
	}
	return ""
}

func (w *labelWatch) snapshot() LabelStatus {
	w.mu.Lock()
	status, asking := w.status, w.asking
	w.mu.Unlock()
	if status.State == Starting && status.Why == "" && asking != nil {
		status.Why = asking.whyUnanswered()
	}
	if w.reports != nil {
		status.Report = w.reports.status(w.label) // it rises without anything else that changes
	}
	return status
}
