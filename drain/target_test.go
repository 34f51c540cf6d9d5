package drain

import (
	"context"
	"errors"
	"sync"
)

// target is a data plane whose connections end when the test says so.
type target struct {
	mu        sync.Mutex
	active    int
	closes    int // of them end by themselves before a deadline
	accepting bool
	resumes   int
	reclaims  int
	resumeErr error         // of Resume and Reclaim
	idle      chan struct{} // closed when active has come to 0
}

func newTarget(active int) *target {
	return &target{active: active, accepting: true, idle: make(chan struct{})}
}

func (t *target) Shutdown(ctx context.Context) (Rest, error) {
	t.mu.Lock()
	t.accepting = false
	idle := t.idle
	if t.active == 0 {
		t.mu.Unlock()
		return Rest{}, nil
	}
	t.mu.Unlock()
	select {
	case <-idle:
		return Rest{}, nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return Rest{}, ctx.Err()
	}
	rest := Rest{Closed: t.closes, Cut: t.active - t.closes}
	t.active = 0
	return rest, ctx.Err()
}

func (t *target) Resume() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.resumeErr != nil {
		return t.resumeErr
	}
	t.accepting = true
	t.resumes++
	return nil
}

func (t *target) Reclaim() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.resumeErr != nil {
		return t.resumeErr
	}
	t.accepting = true
	t.reclaims++
	return nil
}

func (t *target) Active() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.active
}

func (t *target) isAccepting() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.accepting
}

func (t *target) failResume(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.resumeErr = err
}

// end ends every connection.
func (t *target) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.active = 0
	close(t.idle)
}
