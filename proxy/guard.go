package proxy

import (
	"sync"
	"time"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// A process that is stopped between its look at a lease and the system call makes
// that call when it goes on, however late. Where nobody may get a byte after the
// end of a lease (Listener.KillAfterLease), a timer of the kernel's therefore ends a
// process that has connections under a lease which ended killAfter ago: one that
// runs has cut them long before.
type leaseGuard struct {
	timer *sock.KillTimer

	mu    sync.Mutex
	ends  []int64 // of the leases under which something is open, by label; 0: nothing is
	armed int64   // the earliest of them; 0: there is none
}

// killAfter is what a process that runs has to cut what a lease no longer permits.
const killAfter = 500 * time.Millisecond

// close disarms the timer for good, when nothing is open any more. g may be nil.
func (g *leaseGuard) close() {
	if g != nil {
		g.timer.Delete()
	}
}

// opened counts a connection that has reached its master.
func (lb *label) opened() {
	if lb.live.Add(1) == 1 && lb.guard != nil {
		lb.guard.consider(lb)
	}
}

// closed counts the end of one.
func (lb *label) closed() {
	if lb.live.Add(-1) == 0 && lb.guard != nil {
		lb.guard.consider(lb)
	}
}

// consider arms the timer for what is open under lb's lease at the moment.
func (g *leaseGuard) consider(lb *label) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var end int64
	if lb.live.Load() > 0 {
		if end = lb.lease.Load(); end == noLease {
			end = 0
		}
	}
	before := g.ends[lb.index]
	g.ends[lb.index] = end
	earliest := g.armed
	switch {
	case end != 0 && (earliest == 0 || end < earliest):
		earliest = end
	case before == earliest && end != before:
		earliest = 0
		for _, e := range g.ends {
			if e != 0 && (earliest == 0 || e < earliest) {
				earliest = e
			}
		}
	}
	if earliest == g.armed {
		return
	}
	g.armed = earliest
	at := int64(0)
	if earliest != 0 {
		at = earliest + int64(killAfter)
	}
	if err := g.timer.Arm(at); err != nil {
		panic("arm the timer of a lease: " + err.Error()) // it has been made, and its arguments are ours
	}
}
