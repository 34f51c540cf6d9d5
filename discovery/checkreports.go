package discovery

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/rosproxy/rosproxy/discovery/fence"
	"github.com/rosproxy/rosproxy/discovery/internal/text"
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
		out = append(out, ReportCheck{Datacenter: k.datacenter, Prefix: k.prefix, Err: s.tryReport(ctx, a, k)})
	}
	return out
}

// tryReport keeps an entry for a moment. It has no label, so that no election
// waits for it even if it is left behind.
func (s *Consul) tryReport(ctx context.Context, a *agent, k reporterKey) (err error) {
	c, timeout := s.reporters[k].config, s.config.VerifyTimeout
	e := fence.Entry{Instance: c.Instance, PID: os.Getpid(), Boot: bootID(), TTL: c.TTL.Seconds(), Labels: map[string]fence.State{}}
	key := fence.Key(c.Prefix, c.Instance, e.PID, newRandom())
	made, err := a.PutKey(ctx, k.datacenter, key, e.Encode(), 0, timeout)
	switch {
	case err != nil:
		return fmt.Errorf("write a report: %w", err)
	case !made:
		return fmt.Errorf("write a report: somebody else has written %s", text.Quoted(key))
	}
	pair, err := a.ReadKey(ctx, k.datacenter, key, timeout)
	switch {
	case err != nil:
		return fmt.Errorf("read a report: %w", err)
	case pair == nil || !bytes.Equal(pair.Value, e.Encode()):
		return errors.New("read a report: what was written is not there")
	}
	if made, err = a.DeleteKey(ctx, k.datacenter, key, pair.ModifyIndex, timeout); err != nil || !made {
		return fmt.Errorf("take a report away: %w", cmp.Or(err, errors.New("somebody else has written it")))
	}
	if _, err := a.ListKeys(ctx, k.datacenter, c.Prefix+"/", timeout); err != nil {
		return fmt.Errorf("list the reports, as await-fence does: %w", err)
	}
	return nil
}
