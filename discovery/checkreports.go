package discovery

import (
	"cmp"
	"context"
	"maps"
	"slices"
)

// ReportCheck is what trying found out about where fence reports are kept.
type ReportCheck struct {
	Datacenter string // empty: the agent's own
	Prefix     string
	Err        error // nil: reports can be written, read, listed and taken away there. Else what is wrong and what to do
}

// checkReports tries at a what a report needs.
func (s *Consul) checkReports(ctx context.Context, a *agent) (out []ReportCheck) {
	keys := slices.SortedFunc(maps.Keys(s.reporters), func(x, y reporterKey) int {
		return cmp.Or(cmp.Compare(x.prefix, y.prefix), cmp.Compare(x.datacenter, y.datacenter))
	})
	for _, k := range keys {
		out = append(out, ReportCheck{Datacenter: k.datacenter, Prefix: k.prefix, Err: s.reporters[k].Try(ctx, a.Client, s.config.VerifyTimeout)})
	}
	return out
}
