package proxy

import (
	"sync"
	"time"
)

// Cut tells what one call of SetMaster or Lose did.
type Cut struct {
	ID       string    // empty when the call was no failover: there was no master, or it is the same still
	At       time.Time // after the store that began the epoch: by At+Fence at the latest nothing moves for an earlier one
	Label    string
	From, To string        // address:port; empty: none
	Reason   string        // why there is no master; empty: there is one, or it is not known
	Epoch    uint64        // the epoch that began
	Dropped  int           // connections reset
	Carried  int           // clients, not yet connected, that were carried to the new master
	Fence    time.Duration // from At until the last shard had seen the new epoch
	Duration time.Duration // from At until the last old connection was closed
	Detect   time.Duration // from Master.Seen to At; 0: not known
}

// history is what is remembered of one label's masters.
type history struct {
	change sync.Mutex // held over a whole SetMaster or Lose: one change at a time

	mu        sync.Mutex
	last      *Cut // guarded by mu, as the rest
	failovers uint64
	lost      uint64 // losses that the log told of
	dropped   uint64
	fence     histogram
	cut       histogram
}

func newHistory() *history {
	return &history{fence: newHistogram(fenceBounds), cut: newHistogram(cutBounds)}
}

func (h *history) record(c Cut) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = &c
	h.failovers++
	h.dropped += uint64(c.Dropped)
	h.fence.observe(c.Fence)
	h.cut.observe(c.Duration)
}

func (h *history) countLost() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lost++
}
