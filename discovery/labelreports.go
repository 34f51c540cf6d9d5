package discovery

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/rosproxy/rosproxy/discovery/fence"
	"github.com/rosproxy/rosproxy/discovery/internal/clock"
	"github.com/rosproxy/rosproxy/discovery/internal/reporter"
)

// labelReports are the entries that report of a label: one in the own data centre,
// and one in that of the master it serves, where that is another. The label's
// goroutine owns it, but for status.
type labelReports struct {
	own    *labelReport
	remote *labelReport                  // nil: the master is in the own data centre, or nowhere
	all    map[string]*reporter.Reporter // by the data centre of a master elsewhere

	index        uint64                      // what was obeyed, in the data centre of the master
	cleared      bool                        // the entries of all data centres have been read since the own report stood
	watchesReads bool                        // each read of an entry counts
	ends         time.Duration               // when the first lease ends, since boot; 0: there is none
	serving      atomic.Pointer[labelReport] // that of the data centre served, else the own one; for status
}

// labelReporter is what a label needs of a reporter.Reporter.
type labelReporter interface {
	Look(label string, begun time.Duration) reporter.Standing
	Join(label string, state fence.State, changed chan struct{}, verify func())
	Leave(label string)
	Obey(label string, state fence.State)
	Status(label string) *reporter.Status
}

// labelReport is the label in one entry.
type labelReport struct {
	labelReporter
	datacenter string        // "" where there is one
	serves     bool          // it says that the master served is there
	left       time.Duration // when the label left it: it joins on a read that begins afterwards
}

func newLabelReports(w *labelWatch) *labelReports {
	r := &labelReports{all: make(map[string]*reporter.Reporter), cleared: !w.hasSeveralDatacenters()}
	own := w.config.Datacenter
	if w.hasSeveralDatacenters() {
		own = "" // whatever it is called
		for _, dc := range w.config.Datacenters {
			r.all[dc] = w.source.reporterOf(w.config, dc)
		}
	}
	r.own = &labelReport{labelReporter: w.source.reporterOf(w.config, own), serves: !w.hasSeveralDatacenters()}
	r.serving.Store(r.own)
	return r
}

// each are those in which the label is, or is to be.
func (r *labelReports) each() []*labelReport {
	if r.remote == nil {
		return []*labelReport{r.own}
	}
	return []*labelReport{r.own, r.remote}
}

// move leaves the report in the data centre that was served until now, and has dc
// in its place; the label has been cut.
func (r *labelReports) move(w *labelWatch, dc string) {
	if r.remote != nil {
		r.remote.Leave(w.label)
		r.remote = nil
	}
	r.index = 0
	if w.location.remote {
		r.remote = &labelReport{labelReporter: r.all[dc], datacenter: dc}
	}
	r.cleared = r.cleared && w.isAtHome()
	r.serving.Store(cmp.Or(r.remote, r.own))
}

// status is what an operator should know of the report in the data centre served.
func (r *labelReports) status(label string) *ReportStatus {
	return r.serving.Load().Status(label)
}

// mayServe reports whether what v says may be acted on: by reports that stand, on
// reads that began afterwards. A lapse comes before everything else.
func (w *labelWatch) mayServe(v view, sink Sink) bool {
	r := w.reports
	mayServe, stood := true, time.Duration(0)
	r.ends = 0
	for _, one := range r.each() {
		s := one.Look(w.label, w.readFor(one, one.serves, false, v))
		if s.MayServe {
			// An entry that cannot be understood takes nothing from who serves already: it
			// names no newer term, and whoever activates writes it anew before he waits for
			// this report.
			s = one.Look(w.label, w.readFor(one, one.serves, true, v))
		}
		if s.Over {
			w.lapse(sink)
			return false
		}
		if s.Ends > 0 && (r.ends == 0 || s.Ends < r.ends) {
			r.ends = s.Ends
		}
		if one == w.clearedBy() {
			stood = s.Stood
		}
		mayServe = mayServe && s.MayServe && one.serves == w.mustServe(one) // before it is joined anew: s is of what it was
		w.join(one, s, v)
	}
	if !r.cleared && stood > 0 {
		f := w.source.active.see().follower
		r.cleared = len(f.Unread(stood)) == 0
	}
	w.watchReads(!mayServe || !r.cleared)
	if !(mayServe && r.cleared) && w.mastership.state == Found {
		w.apply(w.mastership.oust(Unreachable, reasonLease), sink) // the report is another one
	}
	return mayServe && r.cleared
}

// join has label written into an entry, or written anew as what it is there now.
func (w *labelWatch) join(r *labelReport, s reporter.Standing, v view) {
	serves := w.mustServe(r)
	if s.Joined && r.serves == serves {
		return
	}
	read := w.readFor(r, serves, false, v)
	if read == 0 && s.Joined {
		return // nothing is known of the master there yet, and it goes on as what it was
	}
	if !s.Joined && (read <= r.left || w.hasSeveralDatacenters() && w.location.term == 0) {
		return // without any entry nobody is connected, and nobody needs to wait for it
	}
	if serves {
		w.reports.index = v.index
	}
	r.serves = serves
	r.Join(w.label, w.stateFor(r), w.changed, w.verifier())
}

// isAtHome reports whether the own data centre is one of those in which the master
// may be: else nobody who activates looks at the reports there.
func (w *labelWatch) isAtHome() bool {
	return slices.Contains(w.source.active.datacenters, w.source.active.see().own)
}

// clearedBy is the report since which the entries of all data centres must have
// been read: the own one, which stands as long as this process remembers; or the one
// where it serves, anew after each move, if nobody looks at the own one.
func (w *labelWatch) clearedBy() *labelReport {
	if w.reports.cleared || w.isAtHome() {
		return w.reports.own
	}
	return w.reports.remote
}

// mustServe reports whether r is in the data centre of the master that is served.
func (w *labelWatch) mustServe(r *labelReport) bool {
	return !w.hasSeveralDatacenters() || w.location.datacenter != "" && (r == w.reports.own) == !w.location.remote
}

// readFor is when the newest consistent read began of all that r must obey: of the
// entry in its data centre, and, where it serves, of who is master there. An entry
// that cannot be understood counts as well where garbled is true.
func (w *labelWatch) readFor(r *labelReport, serves, garbled bool, v view) time.Duration {
	if !w.hasSeveralDatacenters() {
		return v.begun
	}
	a := w.source.active.see()
	of, newest := a.follower.Begun, a.follower.NewestBegun
	if garbled {
		of, newest = a.follower.Answered, a.follower.NewestAnswered
	}
	var read time.Duration
	switch {
	case r != w.reports.own:
		read = of(r.datacenter)
	case w.isAtHome():
		read = of(a.own)
	default:
		read = newest()
	}
	if serves {
		read = min(read, v.begun)
	}
	return read
}

// stateFor is what r says of the label.
func (w *labelWatch) stateFor(r *labelReport) fence.State {
	s := fence.State{Obeyed: w.reports.index, Term: w.location.term, Elsewhere: !r.serves}
	if w.mastership.state == Found {
		s.Master = w.mastership.address.String()
	}
	return s
}

// write writes into the entries what has been obeyed.
func (r *labelReports) write(w *labelWatch) {
	for _, one := range r.each() {
		one.Obey(w.label, w.stateFor(one))
	}
}

// obey reports that everything has been done that follows from v.
func (w *labelWatch) obey(o order, v view) {
	if o.learnt {
		w.reports.index = v.index
		w.reports.write(w)
	}
}

// lapse cuts, and leaves every entry: a lease is over.
func (w *labelWatch) lapse(sink Sink) {
	if w.main != nil {
		w.apply(w.mastership.oust(Unreachable, reasonLease), sink)
	}
	for _, one := range w.reports.each() {
		one.Leave(w.label)
		one.left = clock.SinceBoot()
	}
	w.reports.cleared = !w.hasSeveralDatacenters()
	w.watchReads(true)
	w.lookedUp = candidate{} // the address that its host name stands for is forgotten
	w.verify()               // it may join again on what that says
}

// reasonLease is why there is no master when the lease of a report has lapsed.
const reasonLease = "lease"

// watchReads has the label told of each read of an entry, or no more.
func (w *labelWatch) watchReads(reads bool) {
	if !w.hasSeveralDatacenters() || reads == w.reports.watchesReads {
		return
	}
	if w.reports.watchesReads = reads; reads {
		w.source.active.waiting.Add(1)
	} else {
		w.source.active.waiting.Add(-1)
	}
}

// lease is when the first lease ends; 0: there is one that has not begun.
func (r *labelReports) lease(label string) (ends time.Duration) {
	for _, one := range r.each() {
		s := one.Look(label, 0)
		if s.Ends == 0 {
			return 0
		}
		if ends == 0 || s.Ends < ends {
			ends = s.Ends
		}
	}
	return ends
}

// whyUncleared says which entries must still be read since the own report stands;
// empty: none, or it does not stand.
func (r *labelReports) whyUncleared(w *labelWatch) string {
	by := w.clearedBy()
	if r.cleared || by == nil {
		return ""
	}
	stood := by.Look(w.label, 0).Stood
	if stood == 0 {
		return ""
	}
	f := w.source.active.see().follower
	return f.WhyUnread(f.Unread(stood))
}
