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

	mu     sync.Mutex
	checks map[string]*check // by check id
	wg     sync.WaitGroup    // the goroutines of TCP checks
}

// check is one check that the agent keeps: it is fed before ttl is over, or it dials.
type check struct {
	ttl    time.Duration
	timer  *time.Timer // of a TTL check
	output string      // the newest output of the check, which the store may not have yet
	cancel context.CancelFunc
}

func newAgent(node string, s *store) *agent {
	return &agent{node: node, store: s, checks: map[string]*check{}}
}

// run begins a check, in place of one of the same id.
func (a *agent) run(d checkDef) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.dropLocked(d.id)
	ctx, cancel := context.WithCancel(context.Background())
	k := &check{ttl: d.ttl, cancel: cancel}
	a.checks[d.id] = k
	if d.ttl > 0 {
		k.timer = time.AfterFunc(d.ttl, func() { a.expire(d.id, k) })
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
	if k := a.checks[id]; k != nil {
		k.cancel()
		if k.timer != nil {
			k.timer.Stop()
		}
		delete(a.checks, id)
	}
}

// stop ends all checks and returns when none runs any more.
func (a *agent) stop() {
	a.mu.Lock()
	for id := range a.checks {
		a.dropLocked(id)
	}
	a.mu.Unlock()
	a.wg.Wait()
}

// feed takes status and output of a TTL check; false: there is no such check.
func (a *agent) feed(id, status, output string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	k := a.checks[id]
	if k == nil || k.timer == nil {
		return false
	}
	k.timer.Reset(k.ttl)
	a.setLocked(id, k, status, output)
	return true
}

func (a *agent) expire(id string, k *check) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.checks[id] != k {
		return // ended or replaced while the timer fired
	}
	output := "TTL expired"
	if k.output != "" {
		output += " (last output before timeout follows): " + k.output
	}
	a.setLocked(id, k, Critical, output)
}

// setLocked writes a check's status and output to the store if its status is another than
// before. A new output alone is not worth a write to Consul, which tells its
// servers of it minutes later.
func (a *agent) setLocked(id string, k *check, status, output string) {
	k.output = output
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
		if k := a.checks[d.id]; k != nil && ctx.Err() == nil {
			a.setLocked(d.id, k, status, output)
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
