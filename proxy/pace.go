package proxy

import (
	"sync"
	"sync/atomic"
	"time"
)

// pace lets the clients of one label go at an even rate, those of all shards
// together, who has waited longest first. A nil pace is none: all go at once.
//
// The rate is for those that were waiting when the master came. When they have
// gone, it doubles each second for those that came behind them: else a rate
// below that of newcomers would make every client wait from then on.
type pace struct {
	interval time.Duration
	queued   atomic.Int64 // clients that wait to be let go

	mu       sync.Mutex
	next     int64   // when the next may go
	expected int     // shards that have not begun with the master that is coming
	began    int64   // when the master came
	freed    int64   // when all had gone that were waiting then; 0: not yet
	running  int     // the shard that let the last one go
	run      int     // how many more it may let go, though another's first is older
	heads    []int64 // by shard: since when its first client waits; never: it has none
}

const (
	// paceCatchUp is by how much shards may be late and still let go all that were due.
	paceCatchUp = 10 * time.Millisecond
	// paceRetry is when a shard asks again whose first client is not the oldest.
	paceRetry = time.Millisecond
	// paceRun is for how long clients may go that are the oldest of their shard, not of all.
	paceRun = 2 * time.Millisecond
	// paceDoubles is how long the rate stays before it doubles.
	paceDoubles = time.Second
)

// newPace makes the pace of so many clients a second; 0: no pace.
func newPace(rate, shards int) *pace {
	if rate == 0 {
		return nil
	}
	p := &pace{interval: time.Second / time.Duration(rate), heads: make([]int64, shards)}
	for i := range p.heads {
		p.heads[i] = never
	}
	return p
}

// hasQueue reports whether clients wait to be let go.
func (p *pace) hasQueue() bool { return p != nil && p.queued.Load() > 0 }

func (p *pace) add() {
	if p != nil {
		p.queued.Add(1)
	}
}

// remove is for one of a shard's clients; it may have been the last.
func (p *pace) remove(shard int, last bool) {
	if p == nil {
		return
	}
	left := p.queued.Add(-1)
	if !last {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heads[shard] = never
	if left == 0 {
		p.freed = 0
	}
}

// expect says that a master is coming: nobody goes until all shards have begun,
// since any may have the client that has waited longest.
func (p *pace) expect() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expected = len(p.heads)
}

// begin is for a shard that knows the master that has come, and whose first
// client, if there is one, waits since head.
func (p *pace) begin(shard int, head, now int64) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expected = max(p.expected-1, 0)
	p.heads[shard] = head
	p.began, p.freed = now, 0
}

// allow reports whether a shard's first client, which waits since head, may go.
// If not, the shard is to ask again at that time; before is a shard whose first
// has waited longer and may go now, or below zero.
func (p *pace) allow(shard int, head, now int64) (ok bool, again int64, before int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heads[shard] = head
	switch {
	case now < p.next:
		return false, p.next, -1
	case p.expected > 0:
		return false, now + int64(paceRetry), -1
	}
	oldest := shard
	for other, h := range p.heads {
		if h < p.heads[oldest] {
			oldest = other
		}
	}
	switch {
	case oldest == shard:
		p.running, p.run = shard, p.longestRun()
	case p.running != shard || p.run == 0:
		return false, now + int64(paceRetry), oldest
	}
	p.run--
	if now-p.next > int64(paceCatchUp) {
		p.next = now
	}
	p.next += p.intervalFor(head, now)
	return true, 0, -1
}

// longestRun is how many clients a shard lets go before the next may be another's:
// to ask another shard takes longer than a short interval.
func (p *pace) longestRun() int { return int(paceRun/p.interval) + 1 }

// intervalFor is how long none goes after the client that waits since head.
func (p *pace) intervalFor(head, now int64) int64 {
	if head <= p.began {
		return int64(p.interval)
	}
	if p.freed == 0 {
		p.freed = now
	}
	return int64(p.interval) >> min((now-p.freed)/int64(paceDoubles), 62)
}
