package discovery

import (
	"cmp"
	"slices"
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
