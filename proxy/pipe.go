package proxy

import (
	"sync/atomic"
	"time"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

const (
	// pipeSize is asked for; what the kernel gives is read back. The more bytes
	// a splice moves, the fewer times both peers are woken: with 4 streams 1 MiB
	// takes a third less CPU per GB than 256 KiB. It is the most that a user
	// without privileges may ask for (fs.pipe-max-size).
	pipeSize = 1 << 20
	// smallestPipe is what splicing is still worth; a user over the kernel's
	// limit gets pipes of a page or two.
	smallestPipe = 64 << 10
	// smallPipePause is how long no pipe is opened after one that was too small:
	// an attempt is six system calls, and other processes of that user may hold
	// their pipes for long. Streams are copied meanwhile.
	smallPipePause = time.Second
	// mostIdlePipes a shard keeps for the next stream.
	mostIdlePipes = 32
	// mostFullPipes of a shard stand full before streams that do not keep up:
	// those that do want pipes too, and a full one is pipeSize of the kernel's memory.
	mostFullPipes = 64
)

// pipe carries one direction of one connection, and only while it has bytes in it.
type pipe struct {
	r, w int
	size int
	held int      // bytes in it
	rest leftover // stands for those
}

// pipeBudget bounds the pipes of all shards together.
type pipeBudget struct {
	limit       int64
	open        atomic.Int64
	pausedUntil atomic.Int64 // of the clock: until then no pipe is opened
	openPipe    func(size int) (r, w, got int, err error)
}

// pipeCache is one shard's pipes that nobody uses at the moment. All of them are empty.
type pipeCache struct {
	budget *pipeBudget
	most   int // idle ones that are kept
	idle   []*pipe
	lent   int // those in use
	plenty int // while fewer are in use there are enough
}

// newPipeCache makes one of so many shards' caches. What is idle in all of them
// leaves half of the budget: a shard that has had many streams must not keep the
// pipes from another, whose streams are now.
func newPipeCache(b *pipeBudget, shards int) pipeCache {
	half := b.limit / 2 / int64(shards)
	return pipeCache{budget: b, most: int(min(mostIdlePipes, half)), plenty: int(min(mostFullPipes, half))}
}

// areScarce reports whether no more than a destination takes at once should go into a pipe.
func (c *pipeCache) areScarce() bool { return c.lent >= c.plenty }

// take returns an empty pipe, or nil when the budget is spent or the kernel has none to give.
func (c *pipeCache) take(now int64) *pipe {
	p := c.takeAny(now)
	if p != nil {
		c.lent++
	}
	return p
}

func (c *pipeCache) takeAny(now int64) *pipe {
	if last := len(c.idle) - 1; last >= 0 {
		p := c.idle[last]
		c.idle = c.idle[:last]
		return p
	}
	if now < c.budget.pausedUntil.Load() {
		return nil
	}
	if c.budget.open.Add(1) > c.budget.limit {
		c.budget.open.Add(-1)
		return nil
	}
	r, w, size, err := c.budget.openPipe(pipeSize)
	if err != nil { // out of descriptors: those in use come back
		c.budget.open.Add(-1)
		return nil
	}
	p := &pipe{r: r, w: w, size: size}
	p.rest.pipe = p
	if size < smallestPipe { // this user has all the pages that it may have
		c.budget.pausedUntil.Store(now + int64(smallPipePause))
		c.discard(p)
		return nil
	}
	return p
}

// give takes p back from a stream. A pipe with bytes in it is closed, never
// reused: they belong to a connection that is over.
func (c *pipeCache) give(p *pipe) {
	c.lent--
	if p.held == 0 && len(c.idle) < c.most {
		c.idle = append(c.idle, p)
		return
	}
	c.discard(p)
}

func (c *pipeCache) discard(p *pipe) {
	sock.Close(p.r)
	sock.Close(p.w)
	c.budget.open.Add(-1)
}

func (c *pipeCache) close() {
	for _, p := range c.idle {
		c.discard(p)
	}
	c.idle = nil
}
