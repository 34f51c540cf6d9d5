package proxy

import (
	"sync/atomic"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

const (
	// pipeSize is asked for; what the kernel gives is read back. The more bytes
	// a turn moves, the fewer times both peers are woken: with 4 streams 1 MiB
	// takes a third less CPU per GB than 256 KiB. It is the most that a user
	// without privileges may ask for (fs.pipe-max-size).
	pipeSize = 1 << 20
	// smallestPipe is what splicing is still worth; a user over the kernel's
	// limit gets pipes of one page.
	smallestPipe = 64 << 10
	// idlePipes a shard keeps for the next stream.
	idlePipes = 32
)

// pipe carries one direction of one connection, and only while it has bytes in it.
type pipe struct {
	r, w int
	size int
	held int // bytes in it
}

func (p *pipe) close() {
	sock.Close(p.r)
	sock.Close(p.w)
}

// pipeBudget bounds the pipes of all shards together.
type pipeBudget struct {
	limit atomic.Int64
	open  atomic.Int64
}

// pipeCache is one shard's pipes that nobody uses at the moment. All of them are empty.
type pipeCache struct {
	budget *pipeBudget
	idle   []*pipe
}

// take returns an empty pipe, or nil when the budget is spent.
func (c *pipeCache) take() *pipe {
	if last := len(c.idle) - 1; last >= 0 {
		p := c.idle[last]
		c.idle = c.idle[:last]
		return p
	}
	if c.budget.open.Add(1) > c.budget.limit.Load() {
		c.budget.open.Add(-1)
		return nil
	}
	r, w, size, err := sock.OpenPipe(pipeSize)
	if err == nil && size < smallestPipe {
		// The kernel says that this user has had all the pages it may have.
		sock.Close(r)
		sock.Close(w)
		c.budget.limit.Store(c.budget.open.Add(-1))
		return nil
	}
	if err != nil { // out of descriptors: those in use come back
		c.budget.open.Add(-1)
		return nil
	}
	return &pipe{r: r, w: w, size: size}
}

// give takes p back from a stream. A pipe with bytes in it is closed, never
// reused: they belong to a connection that is over.
func (c *pipeCache) give(p *pipe) {
	if p.held == 0 && len(c.idle) < idlePipes {
		c.idle = append(c.idle, p)
		return
	}
	p.close()
	c.budget.open.Add(-1)
}

func (c *pipeCache) close() {
	for _, p := range c.idle {
		p.close()
		c.budget.open.Add(-1)
	}
	c.idle = nil
}
