package operator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rosproxy/rosproxy/discovery/datacenter"
	"github.com/rosproxy/rosproxy/discovery/fence"
	"github.com/rosproxy/rosproxy/discovery/internal/clock"
	"github.com/rosproxy/rosproxy/discovery/internal/consul"
	"github.com/rosproxy/rosproxy/discovery/internal/waiting"
)

// await waits until every report in the data centres of step has seen its term, or is
// dead, and the leases are over that those which cannot be read may have given.
// highest is the highest term of all reports.
func (w *activation) await(ctx context.Context, step datacenter.Step) (highest uint64, err error) {
	began := clock.SinceBoot()
	var watches []*termWatch
	for _, dc := range step.Datacenters {
		for _, prefix := range w.Prefixes {
			watches = append(watches, &termWatch{activation: w, datacenter: dc, prefix: prefix, began: began})
		}
	}
	group := &termWatches{waiting: w.Waiting, behind: make(map[*termWatch][]ReportBehind)}
	var waiting sync.WaitGroup
	for _, t := range watches {
		t.group, t.state = group, newFenceWait(Election{Prefix: t.prefix}, w.agents)
		t.state.state.Term, t.state.Datacenter = step.Term, t.datacenter
		waiting.Go(func() { t.err = t.run(ctx) })
	}
	waiting.Wait()
	late := &BehindError{Term: step.Term, After: clock.SinceBoot() - began}
	for _, t := range watches {
		if t.err != nil {
			return 0, t.err
		}
		_, h := t.state.state.Terms()
		highest = max(highest, h)
		w.longest = max(w.longest, t.state.state.Longest())
		late.Behind = append(late.Behind, group.behind[t]...)
	}
	switch {
	case len(late.Behind) > 0 && !w.Force:
		return 0, late
	case len(late.Behind) > 0:
		for _, b := range late.Behind {
			w.unverified = append(w.unverified, fmt.Sprintf("that %s in data centre %s serves nobody: it %s", b.who(), b.Datacenter, b.Why))
		}
	case !group.met && w.entered: // else none had a reason to
		w.tell("no instance reports below %s in %s: there was none to wait for", strings.Join(w.Prefixes, ", "), strings.Join(step.Datacenters, ", "))
	default:
		w.tell("all reports in %s have seen term %d", strings.Join(step.Datacenters, ", "), step.Term)
	}
	return highest, w.outlast(ctx, step.Over)
}

// who is the process of a report.
func (b FenceBehind) who() string {
	if b.Instance == "" {
		return "the report " + b.Key
	}
	return fmt.Sprintf("%s, pid %d,", b.Instance, b.PID)
}

// termWatches are those of one wait.
type termWatches struct {
	waiting func([]ReportBehind)

	mu     sync.Mutex
	met    bool // a report of several data centres was there
	behind map[*termWatch][]ReportBehind
}

// set notes which reports of t are behind.
func (g *termWatches) set(t *termWatch, behind []FenceBehind) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.behind[t] = nil
	g.met = g.met || len(behind) > 0 || t.state.state.Reports() > 0
	for _, b := range behind {
		g.behind[t] = append(g.behind[t], ReportBehind{t.datacenter, b})
	}
	var all []ReportBehind
	for _, b := range g.behind {
		all = append(all, b...)
	}
	if g.waiting != nil && len(all) > 0 {
		slices.SortFunc(all, func(x, y ReportBehind) int { return strings.Compare(x.Datacenter+"/"+x.Key, y.Datacenter+"/"+y.Key) })
		g.waiting(all)
	}
}

// termWatch waits for the reports below one prefix in one data centre.
type termWatch struct {
	*activation
	group              *termWatches
	datacenter, prefix string
	state              *fenceWait
	began              time.Duration
	err                error
}

// run returns nil when no report is behind any more, or time is up.
func (t *termWatch) run(ctx context.Context) error {
	w := t.state
	for {
		found, err := tryAll(ctx, w.agents, max(t.patience(), t.left()), func(ctx context.Context, a *consul.Client) (consul.List, error) {
			return a.ListKeys(ctx, t.datacenter, t.prefix+"/", fenceAsk)
		})
		if err != nil {
			return fmt.Errorf("list the reports in data centre %s: %w", t.datacenter, err)
		}
		dead, due := w.look(found)
		t.group.set(t, w.behind)
		switch {
		case len(w.behind) == 0, t.left() <= 0:
			return nil
		case w.bury(ctx, dead):
			continue // read what is left
		}
		if err := w.awaitHint(ctx, found.Index, due, t.left()); err != nil {
			return err
		}
	}
}

// left is how long there is until the time is up.
func (t *termWatch) left() time.Duration {
	longest := max(t.longest, t.state.state.Longest())
	ends := t.began + max(longest+fenceBeyond, fence.DeadAfter(longest)+fenceAsk)
	if t.Timeout > 0 {
		ends = t.waitsUntil()
	}
	return ends - clock.SinceBoot()
}

// outlast waits until the leases are over that data centres may have given which are
// forced, but no longer than the time-out. One that can be read after all ends the
// activation.
func (w *activation) outlast(ctx context.Context, forced []string) error {
	if len(forced) == 0 {
		return nil
	}
	ends := w.began + w.lease()
	if until := w.waitsUntil(); until > 0 && until < ends {
		ends = until
		w.unverified = append(w.unverified, fmt.Sprintf("that the leases are over which data centre %s may have given: %v were waited, of %v",
			strings.Join(forced, ", "), (ends-w.began).Round(time.Millisecond), w.lease()))
	}
	if wait := ends - clock.SinceBoot(); wait > 0 {
		w.tell("waiting for %v, until the leases are over that %s may have given", wait.Round(100*time.Millisecond), strings.Join(forced, ", "))
		waiting.Sleep(ctx, wait)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return w.confirmDown(ctx, forced)
}

// confirmDown fails when one of the data centres that are forced can be read.
func (w *activation) confirmDown(ctx context.Context, forced []string) error {
	ask := fenceAsk
	if w.Timeout > 0 {
		ask = min(ask, w.reserve()/2)
	}
	ctx, cancel := context.WithTimeout(ctx, ask)
	defer cancel()
	errs := make([]error, len(forced))
	var asking sync.WaitGroup
	for i, dc := range forced {
		asking.Go(func() {
			_, err := race(ctx, w.agents, func(ctx context.Context, a *consul.Client) (struct{}, error) {
				_, err := a.ReadKey(ctx, dc, w.Key, ask)
				return struct{}{}, err
			})
			if err == nil || consul.IsDenial(err) {
				errs[i] = errors.New("data centre " + dc + " can be read again: it is not down; run this without --force")
			}
		})
	}
	asking.Wait()
	return joined(errs)
}
