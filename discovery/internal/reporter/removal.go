package reporter

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/discovery/fence"
	"github.com/rosproxy/rosproxy/discovery/internal/consul"
	"github.com/rosproxy/rosproxy/discovery/internal/waiting"
)

// clearDead takes away the entries of this instance whose process, on this host
// and since this boot, is gone, as soon as an agent answers.
func (r *Reporter) clearDead(ctx context.Context) {
	for pace := (waiting.Backoff{First: 50 * time.Millisecond, Most: r.config.TTL / 20}); ctx.Err() == nil; waiting.Sleep(ctx, pace.Next()) {
		for _, a := range r.agents {
			found, err := a.ListKeys(ctx, r.dc, r.config.Prefix+"/", r.opTimeout())
			if err != nil {
				continue
			}
			for _, p := range found.Pairs {
				if r.isDead(p) {
					_, _ = a.DeleteKey(ctx, r.dc, p.Key, p.ModifyIndex, r.opTimeout()) // else it is dead after its TTL
				}
			}
			return
		}
	}
}

// isDead reports whether p is the entry of a process of this instance that is gone.
func (r *Reporter) isDead(p *api.KVPair) bool {
	e, err := fence.Parse(p.Value)
	if err != nil || e.Instance != r.config.Instance || e.Boot != BootID() || e.PID <= 0 || e.PID == os.Getpid() {
		return false
	}
	return errors.Is(unix.Kill(e.PID, 0), unix.ESRCH)
}

// removeStale takes away the entries of earlier lives, once every label has left
// that was in one, and so has cut: until then await-fence must find it there.
func (r *Reporter) removeStale(ctx context.Context) {
	r.mu.Lock()
	for _, s := range r.labels {
		if s.Life != r.beat.Life {
			r.mu.Unlock()
			return // its leaving is written, and then it is tried again
		}
	}
	keys := r.stale
	r.stale = nil
	r.mu.Unlock()
	for i, key := range keys {
		if r.remove(ctx, key) {
			continue
		}
		// It is tried again after the next write: whoever waits for the reports
		// would else wait for the TTL of each that is left behind.
		r.mu.Lock()
		r.stale = append(r.stale, keys[i:]...)
		r.mu.Unlock()
		return
	}
}

// remove takes one entry away, if it can, and reports whether it is gone.
func (r *Reporter) remove(ctx context.Context, key string) bool {
	a := r.agents[r.turn%len(r.agents)]
	pair, err := a.ReadKey(ctx, r.dc, key, r.opTimeout())
	if err != nil || pair == nil {
		return err == nil
	}
	made, err := a.DeleteKey(ctx, r.dc, key, pair.ModifyIndex, r.opTimeout())
	return err == nil && made
}

// Withdraw takes the entry away when the last connection has ended, by way of
// whichever agent is first to do it. It is called when run has returned.
func (r *Reporter) Withdraw(ctx context.Context) {
	r.mu.Lock()
	keys := append(slices.Clone(r.stale), r.key())
	began := r.beat.Beats > 0
	r.mu.Unlock()
	if !began {
		return
	}
	ctx, done := context.WithCancel(ctx)
	defer done()
	var asking sync.WaitGroup
	for _, a := range r.agents {
		asking.Go(func() {
			for _, key := range keys {
				if !r.removeBy(ctx, a, key) {
					return
				}
			}
			done()
		})
	}
	asking.Wait()
}

// removeBy takes one entry away by way of a, however often that needs trying: a
// write may still be under way. It reports whether the entry is gone.
func (r *Reporter) removeBy(ctx context.Context, a *consul.Client, key string) bool {
	for ctx.Err() == nil {
		pair, err := a.ReadKey(ctx, r.dc, key, r.opTimeout())
		if err == nil && pair == nil {
			return true
		}
		if err == nil {
			if made, err := a.DeleteKey(ctx, r.dc, key, pair.ModifyIndex, r.opTimeout()); err == nil && made {
				return true
			}
		}
		waiting.Sleep(ctx, 50*time.Millisecond)
	}
	return false
}
