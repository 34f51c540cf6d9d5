package discovery

import (
	"slices"
	"sync"
	"time"

	"github.com/rosproxy/rosproxy/discovery/internal/clock"
	"github.com/rosproxy/rosproxy/discovery/internal/waiting"
)

// outage keeps which consistent reads of one question have gone unanswered. All
// times are since boot.
//
// An outage begins with the first read that goes unanswered, not with the last
// answer: however short the time is that an outage may last, a Consul that
// answers each read is never taken for one that is away. Any answer ends it
// for the reads that began before it did, whichever address gave it.
// Safe for concurrent use.
type outage struct {
	changed chan struct{} // holds one element while a read has begun that was not looked at

	mu         sync.Mutex
	answered   time.Duration   // when the newest read began that was answered; 0: none
	unanswered []time.Duration // when those began that have no answer (yet), since then; ascending
}

// maxUnanswered bounds what is kept of a long outage.
const maxUnanswered = 64

func newOutage() *outage { return &outage{changed: make(chan struct{}, 1)} }

// begin notes that a read begins now, and answers when that is.
func (o *outage) begin() time.Duration {
	o.mu.Lock()
	at := clock.SinceBoot()
	o.add(at)
	o.mu.Unlock()
	waiting.Signal(o.changed)
	return at
}

// add notes a read that began at at, and is the newest. mu is held.
func (o *outage) add(at time.Duration) {
	if len(o.unanswered) == maxUnanswered {
		// The first says since when, the last ones what may still be unanswered
		// when an older one is answered.
		o.unanswered = slices.Delete(o.unanswered, 1, 2)
	}
	o.unanswered = append(o.unanswered, at)
}

// end notes that the read that began at begun was answered.
func (o *outage) end(begun time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answered = max(o.answered, begun)
	o.unanswered = slices.DeleteFunc(o.unanswered, func(at time.Duration) bool { return at <= o.answered })
}

// since answers when the first read began that is unanswered, and 0 when there
// is none; and when the newest one began that was answered.
func (o *outage) since() (first, answered time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.unanswered) > 0 {
		first = o.unanswered[0]
	}
	return first, o.answered
}
