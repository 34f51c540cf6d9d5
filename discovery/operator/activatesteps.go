package operator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/datacenter"
	"github.com/rosproxy/rosproxy/discovery/fence"
	"github.com/rosproxy/rosproxy/discovery/internal/clock"
	"github.com/rosproxy/rosproxy/discovery/internal/consul"
	"github.com/rosproxy/rosproxy/discovery/internal/waiting"
)

// activateAsk is for how long what fails is tried again: Consul may be electing a
// leader. After it, a data centre cannot be read.
const activateAsk = 5 * time.Second

// activateFinish is for how long an entry may be written, or the reports be read,
// though the time-out has passed: who stops there leaves clients held everywhere.
const activateFinish = time.Second

// patience is for how long what fails is tried again now.
func (w *activation) patience() time.Duration {
	if w.Timeout == 0 {
		return activateAsk
	}
	return min(activateAsk, max(w.began+w.Timeout-clock.SinceBoot(), activateFinish))
}

// waitsUntil is when the time-out ends what is waited for, since boot; 0: there is
// none. By force it goes on afterwards, and has to have time for that.
func (w *activation) waitsUntil() time.Duration {
	switch {
	case w.Timeout == 0:
		return 0
	case w.Force:
		return w.began + w.Timeout - w.reserve()
	}
	return w.began + w.Timeout
}

// reserve is what is left of the time-out for what comes after the waiting.
func (w *activation) reserve() time.Duration { return min(w.Timeout/4, 2*fenceAsk) }

// surveyFor is for how long a data centre may not answer before it cannot be read.
// The other half of the time-out is for the reports: clients must not be cut when there
// is no time left to wait for them.
func (w *activation) surveyFor() time.Duration {
	if w.Timeout == 0 {
		return activateAsk
	}
	return min(activateAsk, w.Timeout/2)
}

// survey reads the entries in all data centres, and then the reports. It fails where
// the token does not suffice: that is no data centre that is down.
func (w *activation) survey(ctx context.Context) (map[string]datacenter.Found, error) {
	found := make(map[string]datacenter.Found)
	errs := make([]error, len(w.Datacenters))
	var mu sync.Mutex
	var asking sync.WaitGroup
	for i, dc := range w.Datacenters {
		asking.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, w.surveyFor())
			defer cancel()
			f, longest, err := w.look(ctx, dc)
			mu.Lock()
			defer mu.Unlock()
			if consul.IsDenial(err) {
				errs[i] = fmt.Errorf("data centre %s: %w", dc, err)
			} else if err != nil {
				f = datacenter.Found{Unread: err.Error()}
			}
			found[dc], w.longest = f, max(w.longest, longest)
		})
	}
	asking.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	for i, dc := range w.Datacenters {
		switch f := found[dc]; {
		case errs[i] != nil || f.Unread != "":
		case f.Garbled != "":
			w.tell("%s: the entry cannot be understood: %s", dc, f.Garbled)
		default:
			w.entered = w.entered || f.Entry.Term > 0
			w.tell("%s: %s", dc, describeEntry(f.Entry))
		}
	}
	return found, joined(errs)
}

// joined is errs in one line; nil: there is none.
func joined(errs []error) error {
	var all error
	for _, err := range errs {
		switch {
		case all == nil:
			all = err
		case err != nil:
			all = fmt.Errorf("%w; %w", all, err)
		}
	}
	return all
}

// look reads the entry and the reports in one data centre. longest is the longest TTL
// of these.
func (w *activation) look(ctx context.Context, dc string) (f datacenter.Found, longest time.Duration, err error) {
	if f, err = w.readEntry(ctx, dc); err != nil {
		return f, 0, err
	}
	for _, prefix := range w.Prefixes {
		all, err := w.list(ctx, dc, prefix)
		if err != nil {
			return f, 0, err
		}
		s := fence.Await{Term: 1}
		s.Look(0, foundOf(all))
		lowest, highest := s.Terms()
		if f.Highest = max(f.Highest, highest); f.Lowest == 0 || lowest > 0 && lowest < f.Lowest {
			f.Lowest = lowest
		}
		longest = max(longest, s.Longest())
	}
	return f, longest, nil
}

// list lists the reports below prefix in dc.
func (w *activation) list(ctx context.Context, dc, prefix string) (consul.List, error) {
	all, err := tryAll(ctx, w.agents, w.patience(), func(ctx context.Context, a *consul.Client) (consul.List, error) {
		return a.ListKeys(ctx, dc, prefix+"/", fenceAsk)
	})
	if err != nil {
		return consul.List{}, fmt.Errorf("list the reports: %w", err)
	}
	return all, nil
}

// readEntry reads the entry in dc.
func (w *activation) readEntry(ctx context.Context, dc string) (datacenter.Found, error) {
	pair, err := w.readKey(ctx, dc)
	if err != nil || pair == nil {
		return datacenter.Found{}, err
	}
	f := datacenter.Found{Modify: pair.ModifyIndex}
	if f.Entry, err = datacenter.Parse(pair.Value); err != nil {
		f.Garbled = err.Error()
	}
	return f, nil
}

func (w *activation) readKey(ctx context.Context, dc string) (*api.KVPair, error) {
	return tryAll(ctx, w.agents, w.patience(), func(ctx context.Context, a *consul.Client) (*api.KVPair, error) {
		return a.ReadKey(ctx, dc, w.Key, fenceAsk)
	})
}

// write writes the entry of step, and answers its ModifyIndex. Whatever the answer is,
// the entry is read back: the write may have been made all the same, or by way of
// another address, to which it was sent as well. What is there tells who wrote it.
func (w *activation) write(ctx context.Context, step datacenter.Step) (modify uint64, err error) {
	value := step.Entry.Encode()
	for ends := clock.SinceBoot() + w.patience(); ; waiting.Sleep(ctx, fencePause) {
		_, failed := race(ctx, w.agents, func(ctx context.Context, a *consul.Client) (bool, error) {
			return a.PutKey(ctx, step.Datacenter, w.Key, value, step.CAS, fenceAsk)
		})
		pair, err := w.readKey(ctx, step.Datacenter)
		switch {
		case err != nil:
			w.wrote = true // perhaps
			return 0, fmt.Errorf("it is not known whether it was written: %w", err)
		case pair != nil && bytes.Equal(pair.Value, value):
			w.wrote = true
			return pair.ModifyIndex, nil
		case pair == nil && step.CAS != 0, pair != nil && pair.ModifyIndex != step.CAS:
			return 0, errors.New("it was changed meanwhile: another activation is under way")
		case failed != nil && consul.IsDenial(failed):
			return 0, failed
		case clock.SinceBoot() >= ends:
			w.wrote = true // it may come yet
			if failed == nil {
				failed = errors.New("it is not written, and nothing says why")
			}
			return 0, failed
		case ctx.Err() != nil:
			return 0, context.Cause(ctx)
		}
	}
}

// tryAll asks every agent again and again until one answers, for a time. It fails at
// once where the token does not suffice. The error is what the last of them said that
// had the time to answer.
func tryAll[T any](ctx context.Context, agents []*consul.Client, patience time.Duration, ask func(context.Context, *consul.Client) (T, error)) (T, error) {
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var last error
	for {
		got, err := race(bounded, agents, ask)
		if last == nil || bounded.Err() == nil {
			last = err
		}
		switch {
		case err == nil || consul.IsDenial(err):
			return got, err
		case errors.Is(ctx.Err(), context.Canceled):
			return got, context.Cause(ctx)
		case bounded.Err() != nil || !waiting.Sleep(bounded, fencePause):
			return got, last
		}
	}
}
