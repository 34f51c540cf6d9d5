package main

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// errDeposed ends an office: another worker may be master by now.
var errDeposed = errors.New("no longer master")

// arbiter holds the in-sync set; the registry is one.
type arbiter interface {
	// swap replaces the set if it is still the one of index, and answers the set that holds then.
	swap(ctx context.Context, next inSync, index uint64) (now inSync, nowIndex uint64, err error)
}

// office is one master's time in office, an epoch. It decides when a record is
// acknowledged: when every follower that could take over has it.
type office struct {
	epoch   uint64
	self    member
	store   *store
	lease   *lease
	arbiter arbiter
	alone   time.Duration // as options.AloneAfter
	log     zerolog.Logger

	ctx  context.Context // ends with the office; its cause says why
	end  context.CancelCauseFunc
	done chan struct{} // closed when keepInSync has returned

	// inSync and index are what the arbiter said last; keepInSync alone uses them.
	inSync inSync
	index  uint64

	news chan struct{} // something below changed that keepInSync may act on

	mu     sync.Mutex
	closed bool
	// required are the followers without which nothing is acknowledged: all
	// that the in-sync set names or may come to name by a write under way.
	required map[*follower]bool
	named    *follower // the one that the set names; nil: none
	slave    *follower // the newest that came as slave; nil: none, or gone
	open     bool      // a slave is in sync, or the wait for one was given up
	commit   int       // records up to this position may be acknowledged
	waiting  []waiter
}

// follower is the master's side of one replication connection.
type follower struct {
	member member
	acked  int       // position it has said to have; guarded by office.mu, like all below
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

// newOffice starts the office of the epoch that now names, which self has just
// swapped in at index. It lasts until ctx ends, close is called, or the arbiter
// says that another master's began.
func newOffice(ctx context.Context, now inSync, index uint64, self member, st *store, le *lease, ar arbiter,
	alone time.Duration, log zerolog.Logger) *office {
	o := &office{
		epoch: now.Epoch, self: self, store: st, lease: le, arbiter: ar, alone: alone,
		log:    log.With().Uint64("epoch", now.Epoch).Logger(),
		done:   make(chan struct{}),
		inSync: now, index: index,
		news:     make(chan struct{}, 1),
		required: make(map[*follower]bool),
	}
	o.ctx, o.end = context.WithCancelCause(ctx)
	go o.keepInSync()
	return o
}

// close ends the office. When it returns no record will be stored or
// acknowledged in it any more, and keepInSync has ended.
func (o *office) close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	o.end(errDeposed)
	<-o.done
}

// put stores r and returns nil when it may be acknowledged: every follower that
// could take over has it, and nobody can have taken over yet.
func (o *office) put(r record) error {
	w, err := o.begin(r)
	if err != nil {
		return err
	}
	select {
	case <-w.ready:
	case <-o.ctx.Done():
		return errDeposed
	}
	// Last, and not only before: the worker may have been frozen in between.
	if !o.lease.valid() || o.ctx.Err() != nil {
		return errDeposed
	}
	return nil
}

// begin stores r. It does so under mu, so that nothing is stored once close has
// returned: the store is a follower's then, and must be its master's to the letter.
func (o *office) begin(r record) (waiter, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.ctx.Err() != nil {
		return waiter{}, errDeposed
	}
	w := waiter{position: o.store.put(r), since: time.Now(), ready: make(chan struct{})}
	o.waiting = append(o.waiting, w)
	o.advanceLocked()
	return w, nil
}

// advanceLocked moves commit as far as the required followers allow, and
// releases the waiters up to there.
func (o *office) advanceLocked() {
	if !o.open {
		return
	}
	to := o.store.size()
	for f := range o.required {
		to = min(to, f.acked)
	}
	o.commit = max(o.commit, to)
	o.waiting = slices.DeleteFunc(o.waiting, func(w waiter) bool {
		if w.position > o.commit {
			return false
		}
		close(w.ready)
		return true
	})
}

// join adds a follower that begins its full copy.
func (o *office) join(f *follower, asSlave bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if asSlave {
		o.slave = f
	}
}

// leave says that the follower's connection is gone. It may live on and take
// over all the same, so while it is required it stays so.
func (o *office) leave(f *follower) {
	o.mu.Lock()
	f.gone = true
	if o.slave == f {
		o.slave = nil
	}
	o.mu.Unlock()
	nudge(o.news)
}

// ack says that the follower has every record up to position.
func (o *office) ack(f *follower, position int) {
	o.mu.Lock()
	f.whole, f.acked, f.heard = true, max(f.acked, min(position, o.store.size())), time.Now()
	o.advanceLocked()
	settled := o.named == f
	o.mu.Unlock()
	if !settled {
		nudge(o.news)
	}
}

// inSyncSlave is the SYNC_ID of the slave that the in-sync set names; empty: none.
func (o *office) inSyncSlave() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.named == nil {
		return ""
	}
	return o.named.member.ID
}
