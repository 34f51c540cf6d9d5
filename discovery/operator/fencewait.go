package operator

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
	"golang.org/x/time/rate"

	"github.com/rosproxy/rosproxy/discovery/fence"
	"github.com/rosproxy/rosproxy/discovery/internal/clock"
	"github.com/rosproxy/rosproxy/discovery/internal/consul"
	"github.com/rosproxy/rosproxy/discovery/internal/text"
	"github.com/rosproxy/rosproxy/discovery/internal/waiting"
)

// Times of a fenceWait.
const (
	fenceAsk   = 2 * time.Second        // for one request: one that hangs costs no more
	fenceLook  = 500 * time.Millisecond // between two reads of the reports, at most
	fencePause = 100 * time.Millisecond // after a request that every address has failed

	fenceUnread = 20 * time.Second // the TTL of reports that have not been read yet
	fenceBeyond = 10 * time.Second // more than the longest TTL
)

// fenceWait is the state of a FenceWait: it does the I/O that fence.Await asks for, at every
// address at the same time, since one may hang, or its server may.
type fenceWait struct {
	Election
	agents []*consul.Client
	state  fence.Await
	looks  *rate.Limiter // many processes report often, and each report wakes the long polls

	began     time.Duration // since boot
	read      time.Duration // when the reports were read first; 0: not yet
	behind    []FenceBehind
	undeleted map[string]error // why a dead report is still there, by its key
	trouble   error            // why the last request failed; nil: it did not
}

func newFenceWait(e Election, agents []*consul.Client) *fenceWait {
	return &fenceWait{
		Election: e, agents: agents, began: clock.SinceBoot(),
		state: fence.Await{Label: e.Label, Index: e.Index},
		looks: rate.NewLimiter(20, 10),
	}
}

func (w *fenceWait) run(ctx context.Context) error {
	if w.LeaderKey != "" {
		if err := w.readElection(ctx); err != nil {
			return err
		}
	}
	for {
		found, err := insist(ctx, w, func(ctx context.Context, a *consul.Client) (consul.List, error) {
			return a.ListKeys(ctx, w.Datacenter, w.Prefix+"/", fenceAsk)
		})
		if err != nil {
			return err
		}
		dead, due := w.look(found)
		if len(w.behind) == 0 {
			return nil
		}
		if w.bury(ctx, dead) {
			continue // read what is left
		}
		if err := w.awaitChange(ctx, found.Index, due); err != nil {
			return err
		}
	}
}

// readElection learns the index of the election from the leader key.
func (w *fenceWait) readElection(ctx context.Context) error {
	pair, err := insist(ctx, w, func(ctx context.Context, a *consul.Client) (*api.KVPair, error) {
		return a.ReadKey(ctx, w.Datacenter, w.LeaderKey, fenceAsk)
	})
	switch {
	case err != nil:
		return err
	case pair == nil:
		return fmt.Errorf("the leader key %s is absent: nobody has been elected", text.Quoted(w.LeaderKey))
	case pair.Session == "":
		return fmt.Errorf("no session holds the leader key %s: nobody has been elected", text.Quoted(w.LeaderKey))
	}
	w.state.Index = pair.ModifyIndex
	return nil
}

// look judges the reports that a consistent read has found. due is when the next
// of them is dead, since boot; 0: none will be.
func (w *fenceWait) look(found consul.List) (dead []fence.Behind, due time.Duration) {
	now := clock.SinceBoot()
	w.read = cmp.Or(w.read, now)
	behind, dead := w.state.Look(now, foundOf(found))
	w.behind = make([]FenceBehind, len(behind))
	for i, b := range behind {
		w.behind[i] = FenceBehind{Key: b.Key, Instance: b.Instance, PID: b.PID, Obeyed: b.Obeyed, Unchanged: now - b.Since, Why: b.Why}
		if b.Dead > now && (due == 0 || b.Dead < due) {
			due = b.Dead
		}
	}
	if w.Waiting != nil && len(behind) > 0 {
		w.Waiting(w.behind)
	}
	return dead, due
}

// foundOf are the entries of a list of reports.
func foundOf(l consul.List) []fence.Found {
	entries := make([]fence.Found, len(l.Pairs))
	for i, p := range l.Pairs {
		entries[i] = fence.Found{Key: p.Key, Modify: p.ModifyIndex, Value: p.Value}
	}
	return entries
}

// bury takes dead reports away, and reports whether one is gone.
func (w *fenceWait) bury(ctx context.Context, dead []fence.Behind) (done bool) {
	w.undeleted = make(map[string]error)
	for _, d := range dead {
		made, err := race(ctx, w.agents, func(ctx context.Context, a *consul.Client) (bool, error) {
			return a.DeleteKey(ctx, w.Datacenter, d.Key, d.Modify, fenceAsk)
		})
		if err != nil {
			w.undeleted[d.Key] = err
			return done // there is no more hope for the next one
		}
		done = done || made
	}
	return done
}

// awaitChange waits until there may be something new, or a report is dead at due.
// It fails when the time is up, or ctx has ended.
func (w *fenceWait) awaitChange(ctx context.Context, index uint64, due time.Duration) error {
	if err := w.awaitHint(ctx, index, due, w.left()); err != nil {
		return err
	}
	if w.left() <= 0 {
		return w.overdue()
	}
	return nil
}

// awaitHint waits until there may be something new, a report is dead at due, or left
// has passed. It fails when ctx has ended.
func (w *fenceWait) awaitHint(ctx context.Context, index uint64, due, left time.Duration) error {
	wait := min(fenceLook, left)
	if due > 0 {
		wait = min(wait, max(due-clock.SinceBoot(), time.Millisecond))
	}
	if wait > 0 {
		hint, cancel := context.WithTimeout(ctx, wait*17/16+fencePause)
		defer cancel()
		_, err := race(hint, w.agents, func(ctx context.Context, a *consul.Client) (struct{}, error) {
			return struct{}{}, a.AwaitChange(ctx, w.Datacenter, w.Prefix+"/", index, wait)
		})
		if err != nil {
			waiting.Sleep(hint, wait)
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if left <= wait {
		return nil
	}
	return w.looks.Wait(ctx)
}

// left is how long there is until the time is up. By default it begins with the
// first read of the reports: from then on a dead one takes its TTL.
func (w *fenceWait) left() time.Duration {
	ends := w.began + w.Timeout
	switch longest := w.state.Longest(); {
	case w.Timeout > 0:
	case w.read == 0:
		ends += fenceUnread + fenceBeyond
	default:
		ends = w.read + max(longest+fenceBeyond, fence.DeadAfter(longest)+fenceAsk)
	}
	return ends - clock.SinceBoot()
}

// overdue is the error when the time is up.
func (w *fenceWait) overdue() error {
	after := clock.SinceBoot() - w.began
	if w.read == 0 {
		return fmt.Errorf("consul cannot be asked for %v: %w", after.Round(time.Millisecond), w.trouble)
	}
	for i, b := range w.behind {
		if err := w.undeleted[b.Key]; err != nil {
			w.behind[i].Why = fmt.Sprintf("%s and is dead, but cannot be taken away: %v", b.Why, err)
		}
	}
	return &FenceError{Label: w.Label, Index: w.state.Index, After: after, Behind: w.behind, Trouble: w.trouble}
}

// insist asks every address again and again until one answers: Consul may be
// electing a leader. It fails when the time is up, ctx has ended, or the token does not suffice.
func insist[T any](ctx context.Context, w *fenceWait, ask func(context.Context, *consul.Client) (T, error)) (T, error) {
	for {
		bounded, cancel := context.WithTimeout(ctx, w.left())
		got, err := race(bounded, w.agents, ask)
		cancel()
		if err == nil || w.trouble == nil || w.left() > 0 { // else it is that time was up
			w.trouble = err
		}
		switch {
		case err == nil, consul.IsDenial(err):
			return got, err
		case ctx.Err() != nil:
			return got, context.Cause(ctx)
		case w.left() <= 0:
			return got, w.overdue()
		}
		waiting.Sleep(ctx, min(fencePause, w.left()))
	}
}

// race asks every agent at the same time, and answers with what the first says that
// does not fail. When all do, the error is a denial if all of them are.
func race[T any](ctx context.Context, agents []*consul.Client, ask func(context.Context, *consul.Client) (T, error)) (T, error) {
	type outcome struct {
		got T
		err error
	}
	var asking sync.WaitGroup
	defer asking.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	outcomes := make(chan outcome, len(agents))
	for _, a := range agents {
		asking.Go(func() {
			got, err := ask(ctx, a)
			if err != nil {
				err = fmt.Errorf("consul at %s: %w", a.Address(), err)
			}
			outcomes <- outcome{got, err}
		})
	}
	var last outcome
	for range agents {
		o := <-outcomes
		if o.err == nil {
			return o.got, nil
		}
		if last.err == nil || !consul.IsDenial(o.err) {
			last = o
		}
	}
	return last.got, last.err
}
