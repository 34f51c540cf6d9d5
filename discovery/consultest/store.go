package consultest

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// How long a blocking query waits when it does not say, and at most.
const (
	defaultWait = 5 * time.Minute
	maxWait     = 10 * time.Minute
)

// store guards a state and wakes the queries that wait for a change of it.
type store struct {
	mu        sync.Mutex
	st        *state
	changed   chan struct{} // closed and replaced by each write
	abandoned chan struct{} // closed and replaced when the whole state is replaced
}

func newStore(st *state) *store {
	return &store{st: st, changed: make(chan struct{}), abandoned: make(chan struct{})}
}

// update makes one write under one index, which is spent even if fn fails, as raft's is.
func (s *store) update(fn func(st *state, idx uint64) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { // fn of a test may panic; nobody may sleep on for that
		close(s.changed)
		s.changed = make(chan struct{})
	}()
	s.st.index++
	return fn(s.st, s.st.index)
}

// view reads the state; fn must keep nothing of it but rows.
func (s *store) view(fn func(*state)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn(s.st)
}

// replace puts another state in place; every query that waits is answered from it.
func (s *store) replace(fn func(old *state) *state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.st = fn(s.st)
	close(s.changed)
	close(s.abandoned)
	s.changed, s.abandoned = make(chan struct{}), make(chan struct{})
}

// reading is the result of one query.
type reading struct {
	value   any
	index   uint64 // what X-Consul-Index says
	version uint64 // moves when what the query watches does
	missing bool   // the one thing asked for is not there

	filtered bool // some of it was left out for want of rights
}

// block reads until the index of the reading is above after, unless ctx or
// wait ends first. After 0 reads once. It calls asleep before it sleeps: no
// change from then on is missed. It follows Consul's own loop, to the letter
// where that matters: an index of the future waits, a key that stays missing
// wakes nobody, a replaced state answers at once with what was there before it.
func (s *store) block(ctx context.Context, after uint64, wait time.Duration, asleep func(), read func(*state) reading) (reading, error) {
	if after == 0 {
		r, _, _ := s.read(read)
		return r, nil
	}
	timer := time.NewTimer(wait + jitter(wait))
	defer timer.Stop()
	wasMissing := false
	for {
		r, changed, abandoned := s.read(read)
		if r.missing && wasMissing {
			after = r.index
		}
		wasMissing = r.missing
		if r.index > after {
			return r, nil
		}
		asleep()
		for again := r.version; again == r.version; { // sleep through changes of other things
			select {
			case <-changed:
			case <-abandoned:
			case <-timer.C:
				return r, nil
			case <-ctx.Done():
				return reading{}, context.Cause(ctx)
			}
			var now reading
			now, changed, _ = s.read(read) // waits for whoever closes the channels, one after the other
			select {
			case <-abandoned:
				return r, nil
			default:
			}
			again = now.version
		}
	}
}

func (s *store) read(read func(*state) reading) (r reading, changed, abandoned <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return read(s.st), s.changed, s.abandoned
}

// jitter is what Consul adds to a wait so that a herd does not come back at once.
func jitter(wait time.Duration) time.Duration {
	if wait < 16 {
		return 0
	}
	return rand.N(wait / 16)
}
