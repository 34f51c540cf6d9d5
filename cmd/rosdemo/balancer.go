package main

import (
	"context"
	"sync"
	"time"
)

// probeEvery is how often the balancer asks each instance for /readyz.
const probeEvery = 100 * time.Millisecond

// balancer is what HAProxy or nginx would be in front: it gives new
// connections in turn to the instances that are ready.
type balancer struct {
	mu        sync.Mutex
	instances []*rosproxy
	turn      int
}

func (b *balancer) add(r *rosproxy) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.instances = append(b.instances, r)
}

// replace puts an instance in the place of the one that had its name.
func (b *balancer) replace(r *rosproxy) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, old := range b.instances {
		if old.name == r.name {
			b.instances[i] = r
		}
	}
}

func (b *balancer) all() []*rosproxy {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]*rosproxy(nil), b.instances...)
}

// failoverTo sums up the failovers of all instances to the address that were seen
// after t; false: one has not said that it has failed over.
func (b *balancer) failoverTo(address string, t time.Time) (sum failover, ok bool) {
	for _, r := range b.all() {
		f, ok := r.failoverTo(address, t)
		if !ok {
			return failover{}, false
		}
		sum.Dropped, sum.Carried = sum.Dropped+f.Dropped, sum.Carried+f.Carried
		sum.FenceUS, sum.CutMS = max(sum.FenceUS, f.FenceUS), max(sum.CutMS, f.CutMS)
		if f.seen.After(sum.seen) {
			sum.seen = f.seen
		}
	}
	return sum, true
}

// pick answers the instance that the next connection goes to. When none is
// ready, one that runs will do: rosproxy holds a client until there is a master.
func (b *balancer) pick() *rosproxy {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turn++
	var fallback *rosproxy
	for i := range b.instances {
		r := b.instances[(b.turn+i)%len(b.instances)]
		if r.ready.Load() {
			return r
		}
		if !r.process.ended() {
			fallback = r
		}
	}
	return fallback
}

// run probes until ctx ends.
func (b *balancer) run(ctx context.Context) {
	for {
		var wg sync.WaitGroup
		for _, r := range b.all() {
			wg.Go(func() { r.probe(ctx) })
		}
		wg.Wait()
		if !sleep(ctx, probeEvery) {
			return
		}
	}
}
