package discovery

import (
	"context"
	"fmt"
	"slices"
)

// location is where the master of a label with several data centres is.
type location struct {
	datacenter string // to be asked; empty: none
	remote     bool   // it is another one than the agents' own
	state      State  // without one: why
	why        string // the same, for people
	term       uint64 // of the entry that says so
}

// hasSeveralDatacenters reports whether the master may be in one of several data centres.
func (w *labelWatch) hasSeveralDatacenters() bool { return len(w.config.Datacenters) > 0 }

// locationOf is where the master is to be looked for, by what v says of the entries.
func locationOf(c Config, v activeView) location {
	p := location{term: v.follower.Term(), state: Starting}
	active, why := v.follower.Active()
	switch {
	case active == "" && (v.follower.IsNobody() || p.term > 0):
		p.state = Inactive
		if !v.follower.IsNobody() {
			p.why = why
		}
	case active == "":
		p.why = why
	case v.own == "":
		p.why = "its own data centre is not known yet"
		if v.whyOwn != "" {
			p.why += ": " + v.whyOwn
		}
	case !slices.Contains(c.Datacenters, active):
		p.state, p.why = Inactive, foreign(active)
	case active != v.own && c.RemoteMaster == HoldRemote:
		p.state, p.why = Standby, "active data centre is "+active
	default:
		p.datacenter, p.remote = active, active != v.own
	}
	return p
}

// foreign is why there is no master of a label whose data centres are others.
func foreign(active string) string {
	return fmt.Sprintf("the active data centre is %s, which is none of the label's", active)
}

// locate goes where the master is by the newest entry. It cuts before it goes.
func (w *labelWatch) locate(ctx context.Context, sink Sink) {
	if !w.hasSeveralDatacenters() {
		return
	}
	before := w.location
	w.location = locationOf(w.config, w.source.active.see())
	if w.location == before {
		return
	}
	switch {
	case w.location.datacenter != "":
		if w.mastership.state != Starting && !w.mastership.cut && w.location.datacenter != before.datacenter {
			w.apply(w.mastership.oust(Inactive, ""), sink)
		}
	case w.location.state == Starting:
		w.mastership.why = w.location.why
	default:
		w.apply(w.mastership.oust(w.location.state, w.location.why), sink)
	}
	if w.location.datacenter != before.datacenter {
		w.moveTo(ctx, w.location.datacenter)
	}
	w.reports.write(w)
}

// moveTo has dc asked who is master, and nobody else any more; empty: nobody at
// all. The label has been cut.
func (w *labelWatch) moveTo(ctx context.Context, dc string) {
	for _, s := range []*subscription{w.main, w.member, w.catalog} {
		w.source.unsubscribe(s)
	}
	w.main, w.member, w.catalog = nil, nil, nil
	w.forget()
	w.follow(ctx)
	w.fencedRead, w.fencedAt = 0, 0
	w.reports.move(w, dc)
	if w.config.Datacenter = dc; dc != "" {
		w.mastership.vacate(Starting, "")
		w.main = w.source.subscribe(w.interest.in(dc), w.config, w.changed)
		w.verify()
	}
}
