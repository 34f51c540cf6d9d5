package consultest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// minInterval is the shortest interval of a TCP check, as in Consul.
const minInterval = time.Second

// agent runs the checks of the services that are registered with it and
// writes what they find to the store.
type agent struct {
	node  string
	store *store

	mu      sync.Mutex
	runners map[string]*runner // by check id
	wg      sync.WaitGroup     // the goroutines of TCP checks
}

// runner is one check that the agent keeps: it is fed before ttl is over, or it dials.
type runner struct {
	ttl    time.Duration
	timer  *time.Timer // of a TTL check
	output string      // the newest word of the check, which the store may not have yet
	cancel context.CancelFunc
}

func newAgent(node string, s *store) *agent {
	return &agent{node: node, store: s, runners: map[string]*runner{}}
}

// run begins a check, in place of one of the same id.
func (a *agent) run(d checkDef) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.dropLocked(d.id)
	ctx, cancel := context.WithCancel(context.Background())
	r := &runner{ttl: d.ttl, cancel: cancel}
	a.runners[d.id] = r
	if d.ttl > 0 {
		r.timer = time.AfterFunc(d.ttl, func() { a.expire(d.id, r) })
		return
	}
	if d.tcp != "" {
		a.wg.Go(func() { a.dialLoop(ctx, d) })
	}
}

// drop ends the check id, if the agent runs it.
func (a *agent) drop(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.dropLocked(id)
}

func (a *agent) dropLocked(id string) {
	if r := a.runners[id]; r != nil {
		r.cancel()
		if r.timer != nil {
			r.timer.Stop()
		}
		delete(a.runners, id)
	}
}

// stop ends all checks and returns when none runs any more.
func (a *agent) stop() {
	a.mu.Lock()
	for id := range a.runners {
		a.dropLocked(id)
	}
	a.mu.Unlock()
	a.wg.Wait()
}

// feed takes the word of a TTL check; false: there is no such check.
func (a *agent) feed(id, status, output string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.runners[id]
	if r == nil || r.timer == nil {
		return false
	}
	r.timer.Reset(r.ttl)
	a.setLocked(id, r, status, output)
	return true
}

func (a *agent) expire(id string, r *runner) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.runners[id] != r {
		return // ended or replaced while the timer fired
	}
	output := "TTL expired"
	if r.output != "" {
		output += " (last output before timeout follows): " + r.output
	}
	a.setLocked(id, r, Critical, output)
}

// setLocked writes a check's word to the store if its status is another than
// before. A new output alone is not worth a write to Consul, which tells its
// servers of it minutes later.
func (a *agent) setLocked(id string, r *runner, status, output string) {
	r.output = output
	a.store.update(func(st *state, idx uint64) error {
		c, ok := st.checks[checkKey{a.node, id}]
		if !ok || c.Status == status {
			return nil
		}
		c.Status, c.Output = status, output
		return st.setCheck(c, idx)
	})
}

// dialLoop runs a TCP check until ctx ends.
func (a *agent) dialLoop(ctx context.Context, d checkDef) {
	interval := max(d.interval, minInterval)
	timer := time.NewTimer(rand.N(interval)) // Consul spreads the first ones, too
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		status, output := dial(ctx, d)
		a.mu.Lock()
		if r := a.runners[d.id]; r != nil && ctx.Err() == nil {
			a.setLocked(d.id, r, status, output)
		}
		a.mu.Unlock()
		timer.Reset(interval)
	}
}

func dial(ctx context.Context, d checkDef) (status, output string) {
	dialer := net.Dialer{Timeout: d.timeout}
	c, err := dialer.DialContext(ctx, "tcp", d.tcp)
	if err != nil {
		return Critical, err.Error()
	}
	c.Close()
	return Passing, fmt.Sprintf("TCP connect %s: Success", d.tcp)
}
