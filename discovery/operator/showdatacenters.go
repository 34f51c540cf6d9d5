package operator

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/discovery/datacenter"
	"github.com/rosproxy/rosproxy/discovery/fence"
	"github.com/rosproxy/rosproxy/discovery/internal/consul"
	"github.com/rosproxy/rosproxy/discovery/internal/hostname"
)

// DatacenterView is what one look at a data centre has found.
type DatacenterView struct {
	Name    string
	Err     error                  // not nil: it could not be read, and nothing else is known
	Entry   datacenter.Entry       // Term 0: it is absent, or garbled
	Garbled string                 // why the entry cannot be understood; empty: it can, or is absent
	Labels  []discovery.LabelCheck // of those labels whose master may be there
	Reports []ReportView
}

// ReportView is one report.
type ReportView struct {
	Key   string
	Entry fence.Entry
	Err   error // not nil: it cannot be understood
}

// ShowDatacenters looks at every data centre that c has, all of them at the same time,
// and answers in the order of discovery.Config.AllDatacenters. It fails for what no retry can fix.
func ShowDatacenters(ctx context.Context, c discovery.Config) ([]DatacenterView, error) {
	agents, err := consul.NewClients(c.Addresses, hostname.SystemLookup)
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, a := range agents {
			a.CloseIdleConnections()
		}
	}()
	w := &activation{
		Activation: Activation{Datacenters: c.AllDatacenters(), Key: cmp.Or(c.DatacenterKey, discovery.DefaultDatacenterKey), Prefixes: c.ReportPrefixes()},
		agents:     agents,
	}
	views := make([]DatacenterView, len(w.Datacenters))
	var looking sync.WaitGroup
	for i, dc := range w.Datacenters {
		looking.Go(func() { views[i] = w.view(ctx, c, dc) })
	}
	looking.Wait()
	return views, nil
}

// view looks at one data centre.
func (w *activation) view(ctx context.Context, c discovery.Config, dc string) DatacenterView {
	v := DatacenterView{Name: dc}
	f, err := w.readEntry(ctx, dc)
	if err != nil {
		v.Err = err
		return v
	}
	v.Entry, v.Garbled = f.Entry, f.Garbled
	for _, prefix := range w.Prefixes {
		all, err := w.list(ctx, dc, prefix)
		if err != nil {
			v.Err = err
			return v
		}
		for _, p := range all.Pairs {
			r := ReportView{Key: p.Key}
			r.Entry, r.Err = fence.Parse(p.Value)
			v.Reports = append(v.Reports, r)
		}
	}
	v.Labels, v.Err = mastersIn(ctx, c, dc)
	return v
}

// mastersIn asks who is master in dc.
func mastersIn(ctx context.Context, c discovery.Config, dc string) ([]discovery.LabelCheck, error) {
	in := c
	in.Datacenter, in.Datacenters, in.Reports, in.Labels = dc, nil, nil, nil
	for _, l := range c.Labels {
		if slices.Contains(c.Of(l).Datacenters, dc) {
			l.Datacenter, l.Datacenters, l.Reports = "", nil, nil
			in.Labels = append(in.Labels, l)
		}
	}
	in.VerifyTimeout = cmp.Or(in.VerifyTimeout, fenceAsk)
	source, err := discovery.NewConsul(in, zerolog.Nop())
	if err != nil {
		return nil, err
	}
	var best discovery.AgentCheck
	for i, a := range source.Check(ctx) {
		if i == 0 || best.Err != nil && a.Err == nil {
			best = a
		}
	}
	if len(best.Labels) == 0 {
		return nil, best.Err
	}
	return best.Labels, nil
}
