package consul

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Load is what servers do in a while.
type Load struct {
	Leader, All float64 // CPU in % of a core
	Commits     float64 // of the raft log, a second
}

// Load measures for a while.
func (c *Servers) Load(ctx context.Context, during time.Duration) (l Load, err error) {
	leader, err := c.Leader(ctx)
	if err != nil {
		return l, err
	}
	commits, cpu, err := c.Commits(ctx, leader)
	all, err2 := c.CPU()
	if err := errors.Join(err, err2); err != nil {
		return l, err
	}
	began := time.Now()
	select {
	case <-ctx.Done():
		return l, ctx.Err()
	case <-time.After(during):
	}
	took := time.Since(began).Seconds()
	commitsAfter, cpuAfter, err := c.Commits(ctx, leader)
	allAfter, err2 := c.CPU()
	if err := errors.Join(err, err2); err != nil {
		return l, err
	}
	if now, err := c.Leader(ctx); err != nil {
		return l, err
	} else if now != leader {
		return l, errors.New("the leader has changed meanwhile")
	}
	return Load{
		Leader:  (cpuAfter - cpu).Seconds() / took * 100,
		All:     (allAfter - all).Seconds() / took * 100,
		Commits: float64(commitsAfter-commits) / took,
	}, nil
}

// Beats are processes that report.
type Beats struct {
	made      atomic.Int64
	reporting sync.WaitGroup
	mu        sync.Mutex
	failed    error // the first
}

// Count is how many reports were written and read back so far.
func (b *Beats) Count() int64 { return b.made.Load() }

// Wait returns when all have ended, which they do with their context.
func (b *Beats) Wait() error {
	b.reporting.Wait()
	return b.failed
}

// Report has n processes report as rosproxy does, each at one of the servers: a
// write by compare-and-set every fifth of the TTL, which is read back
// consistently, and one long poll for their leader key.
func (c *Servers) Report(ctx context.Context, n int, ttl time.Duration) *Beats {
	b := &Beats{}
	for i := range n {
		url := c.all[i%len(c.all)].url("")
		b.reporting.Go(func() { c.poll(ctx, url) })
		b.reporting.Go(func() {
			if err := b.beat(ctx, &c.client, fmt.Sprintf("%s/v1/kv/rosproxy/fence/p%d-1-0123456789abcdef", url, i), i, ttl); err != nil && ctx.Err() == nil {
				b.mu.Lock()
				defer b.mu.Unlock()
				b.failed = errors.Join(b.failed, err)
			}
		})
	}
	return b
}

func (b *Beats) beat(ctx context.Context, client *http.Client, url string, i int, ttl time.Duration) error {
	select { // not in step with the others
	case <-ctx.Done():
		return nil
	case <-time.After(rand.N(ttl / 5)):
	}
	ticker := time.NewTicker(ttl / 5)
	defer ticker.Stop()
	for index, beat := uint64(0), 1; ; beat++ {
		entry := fmt.Sprintf(`{"instance":"p%d","pid":1,"boot":"8f7e6d5c-0000-0000-0000-000000000000 pid:[4026531836]","ttl_s":%g,"beat":%d,`+
			`"labels":{"pg":{"obeyed":%d,"term":0,"master":"10.0.0.1:5432"}}}`, i, ttl.Seconds(), beat, index)
		var made bool
		if err := callAt(ctx, client, http.MethodPut, fmt.Sprintf("%s?cas=%d", url, index), []byte(entry), &made); err != nil {
			return fmt.Errorf("write a report: %w", err)
		}
		if !made {
			return errors.New("write a report: somebody else has")
		}
		var pairs []struct{ ModifyIndex uint64 }
		if err := callAt(ctx, client, http.MethodGet, url+"?consistent", nil, &pairs); err != nil || len(pairs) != 1 {
			return fmt.Errorf("read a report back: %d of them, %w", len(pairs), err)
		}
		index = pairs[0].ModifyIndex
		b.made.Add(1)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// poll keeps a long poll going.
func (c *Servers) poll(ctx context.Context, url string) {
	patient := http.Client{Transport: c.client.Transport}
	for ctx.Err() == nil {
		if callAt(ctx, &patient, http.MethodGet, url+"/v1/kv/bench/server-0?index=1000000000&wait=10s", nil, nil) != nil {
			time.Sleep(100 * time.Millisecond)
		}
	}
}
