package admin

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	atATime  = 4           // answers of one kind that take memory while somebody reads them
	slotWait = time.Second // for one of them to end by itself
)

// bounded lets at most atATime requests be answered at a time. One more waits
// for slotWait, then the oldest is broken off: who does not read what he asked
// for keeps nobody else from it. Each has slotWait to itself before that: of
// many that wait, the last would else break off what was begun for the first.
type bounded struct {
	serve http.HandlerFunc
	slots chan struct{}

	mu      sync.Mutex
	answers []answer // under way, the oldest first
}

type answer struct {
	to    *http.ResponseController
	since time.Time
}

func newBounded(serve http.HandlerFunc) *bounded {
	return &bounded{serve: serve, slots: make(chan struct{}, atATime)}
}

func (b *bounded) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch err := b.acquire(r); {
	case errors.Is(err, errBusy):
		w.Header().Set("Retry-After", "1")
		writeError(w, http.StatusServiceUnavailable, err)
		return
	case err != nil: // the client has gone
		return
	}
	defer func() { <-b.slots }()
	to := http.NewResponseController(w)
	b.begin(to)
	defer b.end(to)
	b.serve(w, r)
}

var errBusy = errors.New("too many of these requests at a time")

// acquire takes a slot. A connection that waits for one is idle: there may be
// many of them, and they are not to push out those that want something else.
func (b *bounded) acquire(r *http.Request) error {
	select {
	case b.slots <- struct{}{}:
		return nil
	default:
	}
	setBusy(r, false)
	defer setBusy(r, true)
	if err := b.wait(r.Context()); !errors.Is(err, errBusy) {
		return err
	}
	b.breakOffOldest()
	return b.wait(r.Context())
}

func (b *bounded) wait(ctx context.Context) error {
	late := time.NewTimer(slotWait)
	defer late.Stop()
	select {
	case b.slots <- struct{}{}:
		return nil
	case <-late.C:
		return errBusy
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *bounded) begin(to *http.ResponseController) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answers = append(b.answers, answer{to: to, since: time.Now()})
}

func (b *bounded) end(to *http.ResponseController) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answers = slices.DeleteFunc(b.answers, func(a answer) bool { return a.to == to })
}

// breakOffOldest makes the oldest answer's next write fail, and the one it is
// stuck in, if it is under way for slotWait at least.
func (b *bounded) breakOffOldest() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.answers) == 0 || time.Since(b.answers[0].since) < slotWait {
		return
	}
	_ = b.answers[0].to.SetWriteDeadline(time.Now()) // no connection of a server, in a test: nothing to break off
	b.answers = b.answers[1:]
}
