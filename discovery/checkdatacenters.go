package discovery

import (
	"context"
	"errors"
	"slices"

	"github.com/rosproxy/rosproxy/discovery/datacenter"
)

// DatacenterCheck is what one look at the entry in a data centre has found.
type DatacenterCheck struct {
	Name   string
	Active string // the active data centre by it; empty: nobody
	Term   uint64 // 0: there is no entry
	Err    error  // nil: it can be read and understood
}

// checkDatacenters reads the entries that name the active data centre.
func (n *inquiry) checkDatacenters(ctx context.Context) (out []DatacenterCheck) {
	if n.source.active == nil {
		return nil
	}
	for _, dc := range n.source.active.datacenters {
		r, err := n.readEntry(ctx, dc)
		out = append(out, DatacenterCheck{Name: dc, Active: r.Entry.Active, Term: r.Entry.Term, Err: err})
	}
	return out
}

// readEntry reads the entry in dc.
func (n *inquiry) readEntry(ctx context.Context, dc string) (datacenter.Read, error) {
	v, err := n.view(ctx, aboutKey(dc, n.source.active.key), "")
	if err != nil {
		return datacenter.Read{Why: err.Error()}, err
	}
	r := readOf(v)
	if !r.Understood {
		return r, errors.New("the entry of the active data centre cannot be understood: " + r.Why)
	}
	r.Begun = 1 // it was a consistent read
	return r, nil
}

// interestOf is what w's label asks, in the data centre where its master is; why
// says that there is none to ask.
func (n *inquiry) interestOf(ctx context.Context, w *labelWatch) (i interest, why string, err error) {
	if !w.hasSeveralDatacenters() {
		return w.interest, "", nil
	}
	f := datacenter.NewFollower(n.source.active.datacenters)
	for _, dc := range n.source.active.datacenters {
		r, _ := n.readEntry(ctx, dc) // checkDatacenters says what is wrong
		f.Take(dc, r)
	}
	active, why := f.Active()
	switch {
	case active == "" && !f.IsNobody():
		return interest{}, "", errors.New(why)
	case active == "":
		return interest{}, why, nil
	case !slices.Contains(w.config.Datacenters, active):
		return interest{}, foreign(active), nil
	}
	return w.interest.in(active), "", nil
}
