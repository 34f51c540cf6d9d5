package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
	"github.com/rosproxy/rosproxy/discovery"
)

// checkTimeout bounds all questions to Consul together.
const checkTimeout = 15 * time.Second

// agentChecker is a source that can ask each of its addresses once.
type agentChecker interface {
	Check(context.Context) []discovery.AgentCheck
}

// checkMasters reports whether the source can be read and who is master.
func checkMasters(ctx context.Context, r *report, c config.Config, source discovery.Source) {
	var found masters
	for _, label := range slices.Sorted(maps.Keys(c.Static)) {
		r.ok("master of %s: %s (static)", label, c.Static[label])
		found.add(label, c.Static[label])
	}
	if consul, ok := source.(agentChecker); ok {
		asking, cancel := context.WithTimeout(ctx, checkTimeout)
		defer cancel()
		leaders := leadersOf(c)
		agents := consul.Check(asking)
		for _, a := range agents {
			reportAgent(r, leaders, a)
			found.addAll(a.Labels)
		}
		compareOwn(r, agents)
	}
	found.check(ctx, r, c)
}

// compareOwn warns of agents in different data centres: an instance takes the first
// that answers for its own, which would be another one after a restart.
func compareOwn(r *report, agents []discovery.AgentCheck) {
	var first discovery.AgentCheck
	for _, a := range agents {
		switch {
		case a.Own == "":
		case first.Own == "":
			first = a
		case a.Own != first.Own:
			r.warn("own data centre: consul %s is in %s, and %s in %s; name agents of one data centre", first.Address, first.Own, a.Address, a.Own)
		}
	}
}

func reportAgent(r *report, leaders map[string]*discovery.LeaderKey, a discovery.AgentCheck) {
	if a.Err != nil {
		r.fail("%v", a.Err) // names the address and what to do
	} else {
		r.ok("consul %s: version %s, leader %s", a.Address, orUnknown(a.Version), orUnknown(a.Leader))
	}
	for _, l := range a.Labels {
		if l.Err == nil || !errors.Is(a.Err, l.Err) { // else it has been said
			reportLabel(r, a.Address, l, leaders[l.Label])
		}
	}
	for _, d := range a.Datacenters {
		reportDatacenter(r, a.Address, d)
	}
	if own := "own data centre at consul " + a.Address; a.OwnErr != nil {
		r.fail("%s: not known, and without it no client is connected: %v", own, a.OwnErr)
	} else if a.Own != "" {
		r.ok("%s: %s", own, a.Own)
	}
	for _, f := range a.Reports {
		where := fmt.Sprintf("fence reports below %s at consul %s", f.Prefix, a.Address)
		if f.Datacenter != "" {
			where += ", data centre " + f.Datacenter
		}
		if f.Err != nil {
			r.fail("%s: %v", where, f.Err)
		} else {
			r.ok("%s: can be written, read and taken away", where)
		}
	}
}

// reportDatacenter prints what an address says of the entry in one of several data centres.
func reportDatacenter(r *report, address string, d discovery.DatacenterCheck) {
	where := fmt.Sprintf("data centre %s at consul %s", d.Name, address)
	switch {
	case d.Err != nil:
		r.fail("%s: its entry cannot be read: %v", where, d.Err)
	case d.Term == 0:
		r.warn("%s: no entry: no data centre has been activated there", where)
	case d.Active == "":
		r.warn("%s: nobody is active, term %d", where, d.Term)
	default:
		r.ok("%s: %s is active, term %d", where, d.Active, d.Term)
	}
}

// leadersOf are the leader keys of those labels that follow one.
func leadersOf(c config.Config) map[string]*discovery.LeaderKey {
	leaders := map[string]*discovery.LeaderKey{}
	for _, l := range c.Discovery.Labels {
		if l.Leader != nil {
			leaders[l.Name] = l.Leader
		}
	}
	return leaders
}

// reportLabel prints what an address says of a label. leader is the key that it follows; nil: a service.
func reportLabel(r *report, address string, l discovery.LabelCheck, leader *discovery.LeaderKey) {
	for _, claim := range l.Invalid {
		r.warn("master of %s at consul %s: %s", l.Label, address, claim)
	}
	switch {
	case l.Err != nil:
		r.fail("master of %s at consul %s: %v", l.Label, address, l.Err)
	case len(l.Masters) == 0 && len(l.Failing) > 0:
		r.fail("master of %s at consul %s: none whose checks pass: %s", l.Label, address, describeFailing(l.Failing))
	case len(l.Masters) == 0 && leader == nil && l.Why != "":
		r.fail("master of %s at consul %s: none: %s", l.Label, address, l.Why)
	case len(l.Masters) == 0 && leader != nil:
		r.fail("master of %s at consul %s: none: %s", l.Label, address, describeWait(l, leader))
	case len(l.Masters) == 0:
		r.fail("master of %s at consul %s: none found; check --service and --tag", l.Label, address)
	case !l.Masters[0].Address.IsValid():
		r.fail("master of %s at consul %s: nobody can be connected to it: %s", l.Label, address, describeAll(l.Masters))
	case len(l.Masters) > 1:
		r.warn("master of %s at consul %s: %d claim to be it: %s", l.Label, address, len(l.Masters), describeAll(l.Masters))
	default:
		r.ok("master of %s at consul %s: %s", l.Label, address, describeAll(l.Masters))
	}
}

// describeWait tells why a leader key has led to no master, and what to look at where
// that is not the leader's own business.
func describeWait(l discovery.LabelCheck, leader *discovery.LeaderKey) string {
	why := cmp.Or(l.Why, fmt.Sprintf("nobody is named by the leader key %q", leader.Key))
	switch s := l.Leader; {
	case s == nil || s.ModifyIndex == 0:
		return why + "; check --leader-key and --consul-datacenter, and that the cluster has a leader"
	case !s.Locked && !leader.LockIgnored:
		return why + "; check --leader-lock, and that the cluster has a leader"
	}
	return why
}

func describeAll(masters []discovery.Master) string {
	var s []string
	for _, m := range masters {
		is := "address not resolved"
		if m.Address.IsValid() {
			is = m.Address.String()
		}
		switch {
		case m.ServiceID != "" && m.Node != "":
			is += fmt.Sprintf(" (%s on %s)", m.ServiceID, m.Node)
		case m.ServiceID != "" || m.Node != "": // a leader key names no node, and an address alone nothing else
			is += fmt.Sprintf(" (%s)", m.ServiceID+m.Node)
		}
		s = append(s, is)
	}
	return strings.Join(s, ", ")
}

func describeFailing(failing []discovery.Failing) string {
	const most = 16
	var s []string
	for _, f := range failing[:min(len(failing), most)] {
		s = append(s, f.String())
	}
	return strings.Join(s, ", ")
}

func orUnknown(s string) string {
	return cmp.Or(s, "unknown")
}
