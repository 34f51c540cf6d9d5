package proxy

import (
	"fmt"
	"time"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// Until when a label's master may be trusted, as the source of masters says it.

// Confirm says that a consistent read that began at begun (CLOCK_BOOTTIME,
// since boot) named the label's current master. A process that stood still
// after that moves nothing for a label whose listener has Revalidate until the
// next. It does not block, and panics for an unknown label.
func (p *Proxy) Confirm(label string, begun time.Duration) {
	lb, _ := p.mustFind(label)
	for before := lb.confirmed.Load(); before < int64(begun); before = lb.confirmed.Load() {
		if lb.confirmed.CompareAndSwap(before, int64(begun)) {
			break
		}
	}
	p.confirmPause(lb, begun)
	if p.inDoubt.Load() > 0 {
		p.broadcast((*shard).settleDoubts)
	}
}

// Lease ends the right to connect clients to label's masters at until
// (CLOCK_BOOTTIME, since boot): from then on no transfer begins, also in a
// process that stood still meanwhile; connections stay, and go on when a later
// call extends it. 0: it has no end, as at first. It does not block, and panics
// for an unknown label.
func (p *Proxy) Lease(label string, until time.Duration) {
	lb, _ := p.mustFind(label)
	end := int64(until)
	if end == 0 {
		end = noLease
	}
	before := lb.lease.Swap(end)
	if lb.guard != nil {
		lb.guard.consider(lb)
	}
	if before <= p.clock.now() {
		p.broadcast(func(s *shard) { s.resume(lb) })
	}
}

// guardLeases gives the labels that need one their guard.
func (p *Proxy) guardLeases() error {
	for _, l := range p.config.Listeners {
		lb := p.find(l.Label)
		if !l.KillAfterLease || lb.guard != nil {
			continue
		}
		if p.guard == nil {
			timer, err := sock.NewKillTimer()
			if err != nil {
				return fmt.Errorf("guard the leases of labels: %w", err)
			}
			p.guard = &leaseGuard{timer: timer, ends: make([]int64, len(p.labels))}
		}
		lb.guard = p.guard
	}
	return nil
}
