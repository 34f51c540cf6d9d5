package reporter

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/fence"
	"github.com/rosproxy/rosproxy/discovery/internal/clock"
	"github.com/rosproxy/rosproxy/discovery/internal/waiting"
)

// Run keeps the entry until ctx ends, which leaves it where it is.
func (r *Reporter) Run(ctx context.Context) {
	var clearing sync.WaitGroup
	defer clearing.Wait()
	clearing.Go(func() { r.clearDead(ctx) })
	pace := waiting.Backoff{First: 50 * time.Millisecond, Most: r.config.TTL / 20}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		wait, idle := r.next()
		if idle || wait > 0 {
			if idle {
				wait = time.Hour
			}
			timer.Reset(wait)
			select {
			case <-ctx.Done():
				return
			case <-r.wake:
				continue
			case <-timer.C:
				continue
			}
		}
		if r.writes.Wait(ctx) != nil {
			return
		}
		ok := r.write(ctx)
		if ctx.Err() != nil {
			return
		}
		r.removeStale(ctx)
		if ok {
			pace.Reset()
		} else if !waiting.Sleep(ctx, pace.Next()) {
			return
		}
	}
}

// next answers how long to wait with the next write; idle: until there is
// something to say.
func (r *Reporter) next() (wait time.Duration, idle bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.labels) == 0 && len(r.stale) == 0 && r.beat.Acked == r.revision {
		return 0, true
	}
	return r.beat.Due(r.revision) - clock.SinceBoot(), false
}

// longestRequest is what one may take where the TTL is long.
const longestRequest = 4 * time.Second

// opTimeout bounds one request, so that several have their chance within a lease.
func (r *Reporter) opTimeout() time.Duration { return min(r.config.TTL/10, longestRequest) }

// write writes the entry once and reads it back, which tells its ModifyIndex. It
// reports whether the entry stands by that.
func (r *Reporter) write(ctx context.Context) bool {
	w, key, value := r.begin()
	a := r.agents[r.turn%len(r.agents)]
	made, err := a.PutKey(ctx, r.dc, key, value, w.CAS, r.opTimeout())
	if err == nil && !made {
		r.refused(w)
		r.turn++ // the next life is not to depend on who refuses everything
		r.report(errors.New("the entry has been deleted, or changed by another"))
		return false
	}
	r.mu.Lock()
	r.beat = r.beat.Unanswered(w)
	r.mu.Unlock()
	if ctx.Err() != nil {
		return false
	}
	if err != nil {
		r.report(err)
		r.turn++
	}
	return r.readBack(ctx, key, err)
}

// begin begins a write of what is to be said now, to the key of this life: a label
// that finds the lease over may begin the next one at any time.
func (r *Reporter) begin() (w fence.Write, key string, value []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := clock.SinceBoot()
	if r.beat.IsOver(now) {
		r.lapse()
	}
	r.beat = r.beat.Begin(now, r.revision)
	e := fence.Entry{
		Instance: r.config.Instance, PID: os.Getpid(), Boot: BootID(), TTL: r.config.TTL.Seconds(),
		Beat: r.beat.Pending.Beat, Labels: make(map[string]fence.State, len(r.labels)),
	}
	for label, s := range r.labels {
		e.Labels[label] = s.state
	}
	return r.beat.Pending, r.key(), e.Encode()
}

func (r *Reporter) refused(w fence.Write) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w == r.beat.Pending {
		r.lapse()
	}
}

// readBack learns what became of a write; failed is what it failed with.
func (r *Reporter) readBack(ctx context.Context, key string, failed error) bool {
	for try := 0; ; try++ {
		a := r.agents[r.turn%len(r.agents)]
		pair, err := a.ReadKey(ctx, r.dc, key, r.opTimeout())
		if ctx.Err() != nil {
			return false
		}
		if err == nil {
			return r.settle(pair, failed)
		}
		r.report(err)
		r.turn++
		if r.expired() || try > 2 && !waiting.Sleep(ctx, 50*time.Millisecond) {
			return false
		}
	}
}

// expired reports whether it is too late for the write in doubt, and lapses if so.
func (r *Reporter) expired() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.beat.Doubtful {
		return true // it lapsed meanwhile
	}
	now := clock.SinceBoot()
	if !r.beat.IsOver(now) && now < r.beat.Pending.Begun+fence.LeaseOf(r.config.TTL) {
		return false
	}
	r.lapse()
	return true
}

// settle takes what was read back.
func (r *Reporter) settle(pair *api.KVPair, failed error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	var index, beat uint64
	if pair != nil {
		index = pair.ModifyIndex
		if e, err := fence.Parse(pair.Value); err == nil {
			beat = e.Beat
		}
	}
	now, life, acked := clock.SinceBoot(), r.beat.Life, r.beat.Acked
	old := r.key()
	r.beat = r.beat.ReadBack(now, index, beat)
	if r.beat.Life != life {
		r.stale, r.random = append(r.stale, old), newRandom()
		for _, s := range r.labels {
			waiting.Signal(s.changed)
		}
		r.reportLocked(errors.New("the entry has been deleted, or changed by another, or its lease was over"))
		return false
	}
	if r.beat.Acked == acked && failed != nil {
		return false
	}
	for _, s := range r.labels {
		if before := s.Stood; before == 0 {
			if s.LabelLease = s.Stand(now, r.beat); s.Stood > 0 {
				s.verify()
			}
		}
		waiting.Signal(s.changed)
	}
	r.wellLocked()
	return true
}

// report notes why the report cannot be written: one warning when that begins.
func (r *Reporter) report(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reportLocked(err)
}

func (r *Reporter) reportLocked(err error) {
	if r.trouble == "" {
		r.since = time.Now()
		r.log.Warn().Err(err).Msg("fence report cannot be written")
	}
	r.trouble = err.Error()
}

func (r *Reporter) wellLocked() {
	if r.trouble != "" {
		r.trouble = ""
		r.log.Info().Dur("lasted_ms", time.Since(r.since)).Msg("fence report is written again")
	}
}
