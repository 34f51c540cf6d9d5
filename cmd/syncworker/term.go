package main

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// errDeposed ends a term: another worker may be master by now.
var errDeposed = errors.New("no longer master")

// arbiter holds the in-sync set; the registry is one.
type arbiter interface {
	// swap replaces the set if it is still the one of index, and answers the set that holds then.
	swap(ctx context.Context, next inSync, index uint64) (now inSync, nowIndex uint64, err error)
}

// term is one worker's time as master, an epoch. It decides when a record is
// acknowledged: when every follower that could take over has it.
type term struct {
	epoch   uint64
	history string // of the records that it adds to
	self    member
	store   *store
	lease   *lease
	arbiter arbiter
	alone   time.Duration // as options.AloneAfter
	log     zerolog.Logger

	ctx  context.Context // ends with the term; its cause says why
	end  context.CancelCauseFunc
	done chan struct{} // closed when keepInSync has returned

	// fenced is closed when every proxy has let go of the former master; before
	// that nothing is acknowledged. nil: nobody is waited for.
	fenced  chan struct{}
	fencing sync.WaitGroup // whoever closes it
	awaited bool           // somebody will; the election's goroutine alone uses it

	// inSync and index are what the arbiter said last; keepInSync alone uses them.
	inSync inSync
	index  uint64

	news chan struct{} // something below changed that keepInSync may act on

	mu     sync.Mutex
	closed bool
	// required are the followers without which nothing is acknowledged: all
	// that the in-sync set names or may come to name by a write under way.
	required map[*follower]bool
	// pristine: the set says that no client's record is in the history, and so
	// none may be acknowledged.
	pristine bool
	named    *follower // the one that the set names; nil: none
	slave    *follower // the newest that came as slave; nil: none, or gone
	open     bool      // a slave is in sync, or the wait for one was given up
	commit   int       // records up to this position may be acknowledged
	waiting  []waiter
}

// follower is the master's side of one replication connection.
type follower struct {
	member member
	acked  int       // position it has said to have; guarded by term.mu, like all below
	heard  time.Time // when it said so
	whole  bool      // it has its full copy
	gone   bool      // its connection has ended
}

// waiter is a client's record that waits to be acknowledged.
type waiter struct {
	position int
	since    time.Time
	ready    chan struct{} // closed when it may be
}

// newTerm starts the term of the epoch that now names, which self has just
// swapped in at index. It lasts until ctx ends, close is called, or the arbiter
// says that another master's began.
func newTerm(ctx context.Context, now inSync, index uint64, self member, st *store, le *lease, ar arbiter,
	alone time.Duration, log zerolog.Logger) *term {
	tm := &term{
		epoch: now.Epoch, history: now.History, self: self, store: st, lease: le, arbiter: ar, alone: alone,
		log:    log.With().Uint64("epoch", now.Epoch).Logger(),
		done:   make(chan struct{}),
		inSync: now, index: index, pristine: now.Pristine,
		news:     make(chan struct{}, 1),
		required: make(map[*follower]bool),
	}
	tm.ctx, tm.end = context.WithCancelCause(ctx)
	go tm.keepInSync()
	return tm
}

// close ends the term. When it returns no record will be stored or
// acknowledged in it any more, and its goroutines have ended.
func (tm *term) close() {
	tm.mu.Lock()
	tm.closed = true
	tm.mu.Unlock()
	tm.end(errDeposed)
	<-tm.done
	tm.fencing.Wait()
}

// put stores r and returns nil when it may be acknowledged: every follower that
// could take over has it, no client can reach the former master any more, and
// nobody can have taken over yet.
func (tm *term) put(r record) error {
	w, err := tm.begin(r)
	if err != nil {
		return err
	}
	select {
	case <-w.ready:
	case <-tm.ctx.Done():
		return errDeposed
	}
	if tm.fenced != nil {
		select {
		case <-tm.fenced:
		case <-tm.ctx.Done():
			return errDeposed
		}
	}
	// Last, and not only before: the worker may have been frozen in between.
	if !tm.lease.valid() || tm.ctx.Err() != nil {
		return errDeposed
	}
	return nil
}

// begin stores r. It does so under mu, so that nothing is stored once close has
// returned: the store is a follower's then, and must be its master's to the letter.
func (tm *term) begin(r record) (waiter, error) {
	tm.mu.Lock()
	defer tm.mu.Unlock()
	if tm.closed || tm.ctx.Err() != nil {
		return waiter{}, errDeposed
	}
	w := waiter{position: tm.store.put(r), since: time.Now(), ready: make(chan struct{})}
	tm.waiting = append(tm.waiting, w)
	tm.advanceLocked()
	if tm.pristine {
		nudge(tm.news)
	}
	return w, nil
}

// advanceLocked moves commit as far as the required followers allow, and
// releases the waiters up to there.
func (tm *term) advanceLocked() {
	if !tm.open || tm.pristine {
		return
	}
	to := tm.store.size()
	for f := range tm.required {
		to = min(to, f.acked)
	}
	tm.commit = max(tm.commit, to)
	tm.waiting = slices.DeleteFunc(tm.waiting, func(w waiter) bool {
		if w.position > tm.commit {
			return false
		}
		close(w.ready)
		return true
	})
}

// join adds a follower that begins its full copy.
func (tm *term) join(f *follower, asSlave bool) {
	tm.mu.Lock()
	defer tm.mu.Unlock()
	if asSlave {
		tm.slave = f
	}
}

// leave says that the follower's connection is gone. It may live on and take
// over all the same, so while it is required it stays so.
func (tm *term) leave(f *follower) {
	tm.mu.Lock()
	f.gone = true
	if tm.slave == f {
		tm.slave = nil
	}
	tm.mu.Unlock()
	nudge(tm.news)
}

// ack says that the follower has every record up to position.
func (tm *term) ack(f *follower, position int) {
	tm.mu.Lock()
	f.whole, f.acked, f.heard = true, max(f.acked, min(position, tm.store.size())), time.Now()
	tm.advanceLocked()
	settled := tm.named == f
	tm.mu.Unlock()
	if !settled {
		nudge(tm.news)
	}
}

// inSyncSlave is the SYNC_ID of the slave that the in-sync set names; empty: none.
func (tm *term) inSyncSlave() string {
	tm.mu.Lock()
	defer tm.mu.Unlock()
	if tm.named == nil {
		return ""
	}
	return tm.named.member.ID
}
