package traffic

import (
	"fmt"
	"sync"
	"time"
)

// gate lets requests begin, or not.
type gate struct {
	mu     sync.Mutex
	closed bool
	busy   map[*client]time.Time // since when
	turn   chan struct{}         // closed at each change
}

func newGate() *gate { return &gate{busy: map[*client]time.Time{}, turn: make(chan struct{})} }

func (g *gate) changed() {
	close(g.turn)
	g.turn = make(chan struct{})
}

// enter waits until the gate is open; false: stop came first.
func (g *gate) enter(c *client, stop <-chan struct{}) bool {
	for {
		g.mu.Lock()
		if !g.closed {
			g.busy[c] = time.Now()
			g.mu.Unlock()
			return true
		}
		turn := g.turn
		g.mu.Unlock()
		select {
		case <-turn:
		case <-stop:
			return false
		}
	}
}

func (g *gate) leave(c *client) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.busy, c)
	g.changed()
}

// shut closes the gate and waits until no request is under way; it tells which are
// when that takes too long.
func (g *gate) shut(patience time.Duration) []string {
	deadline := time.After(patience)
	for {
		g.mu.Lock()
		g.closed = true
		var busy []string
		for c, since := range g.busy {
			busy = append(busy, fmt.Sprintf("%v has waited for %v", c, time.Since(since).Round(time.Millisecond)))
		}
		turn := g.turn
		g.mu.Unlock()
		if len(busy) == 0 {
			return nil
		}
		select {
		case <-turn:
		case <-deadline:
			return busy
		}
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = false
	g.changed()
}
