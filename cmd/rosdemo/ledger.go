package main

import (
	"maps"
	"strings"
	"sync"
	"time"
)

// ledger is the clients' book: what was acknowledged, by whom, and what broke.
type ledger struct {
	mu      sync.Mutex
	acked   map[string]uint64    // by client: it was told OK for every number up to this
	total   int                  // acknowledgements
	first   map[uint64]time.Time // the first acknowledgement of each epoch
	firstBy map[uint64]string    // and the worker that gave it
	over    uint64               // epochs before this one are over: their connections are cut
	deposed string               // the worker that was master in the last of them
	stale   int                  // answers, of any kind, of an epoch that was over
	broken  int                  // connections that ended under a client
	refused int                  // answers that were neither OK nor the connection's end
	live    map[string]bool      // clients that have a connection
	waiting map[string]time.Time // clients that wait for an answer, and since when
	longest time.Duration        // that a client waited for one record
	slots   map[int64]bool       // slots of time, each traceSlot long, in which something was acknowledged

	onAck func(r record, worker string, now time.Time) // is told of each acknowledgement; nil: nobody is
}

func newLedger() *ledger {
	return &ledger{
		acked: map[string]uint64{}, slots: map[int64]bool{}, first: map[uint64]time.Time{}, firstBy: map[uint64]string{},
		live: map[string]bool{}, waiting: map[string]time.Time{},
	}
}

// asked says that the client wants the next record acknowledged; again, while
// it still does, changes nothing.
func (l *ledger) asked(client string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting[client].IsZero() {
		l.waiting[client] = time.Now()
	}
}

// ack books that the client was told at the time now that its record n is safe.
func (l *ledger) ack(client string, n uint64, worker string, epoch uint64, now time.Time) {
	if l.onAck != nil {
		l.onAck(record{client, n}, worker, now)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked[client] = n
	l.total++
	l.slots[slot(now)] = true
	l.longest = max(l.longest, now.Sub(l.waiting[client]))
	delete(l.waiting, client)
	if l.first[epoch].IsZero() {
		l.first[epoch], l.firstBy[epoch] = now, worker
	}
	if epoch < l.over {
		l.stale++
	}
}

// fence says that every connection to a master before epoch, the last of which
// was the worker deposed, is cut. From now on an answer by such a one is stale.
func (l *ledger) fence(epoch uint64, deposed string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over, l.deposed = max(l.over, epoch), deposed
}

// connected reports whether the client has a connection now.
func (l *ledger) connected(client string, yes bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if yes {
		l.live[client] = true
	} else {
		delete(l.live, client)
	}
}

// broke books a connection that ended before the client was done with it.
func (l *ledger) broke() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken++
}

// refuse books an answer of the worker that was no OK.
func (l *ledger) refuse(worker string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused++
	if worker == l.deposed {
		l.stale++
	}
}

// firstAck is when the newest epoch in which anything was acknowledged had its
// first acknowledgement, and the worker that gave it.
func (l *ledger) firstAck() (at time.Time, worker string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var newest uint64
	for e := range l.first {
		newest = max(newest, e)
	}
	return l.first[newest], l.firstBy[newest]
}

// longestWait is the longest that a client waited for one record since it was last
// asked for, those that wait still included.
func (l *ledger) longestWait() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	longest := l.longest
	for _, since := range l.waiting {
		longest = max(longest, time.Since(since))
	}
	l.longest = 0
	return longest
}

// count is a reading of the numbers.
type count struct {
	acked, stale, broken, refused, live, waiting int
	longest                                      time.Duration
}

// patienceShown is how long a client waits before the screen says that it does.
const patienceShown = 200 * time.Millisecond

func (l *ledger) count() count {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := count{acked: l.total, stale: l.stale, broken: l.broken, refused: l.refused, live: len(l.live), longest: l.longest}
	for _, since := range l.waiting {
		if time.Since(since) > patienceShown {
			c.waiting++
		}
	}
	return c
}

// traceSlot is the time that one character of a trace stands for.
const traceSlot = 100 * time.Millisecond

// trace draws the time between two moments: # where records were acknowledged, . where none was.
func (l *ledger) trace(from, to time.Time) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return drawTrace(l.slots, from, to)
}

// slot is the slot of a moment.
func slot(t time.Time) int64 { return t.UnixNano() / int64(traceSlot) }

func drawTrace(slots map[int64]bool, from, to time.Time) string {
	var b strings.Builder
	for s := slot(from); s < slot(to); s++ {
		if slots[s] {
			b.WriteByte('#')
		} else {
			b.WriteByte('.')
		}
	}
	return b.String()
}

// missing counts the acknowledged records that held lacks.
func (l *ledger) missing(held map[record]bool) int {
	l.mu.Lock()
	acked := maps.Clone(l.acked)
	l.mu.Unlock()
	lost := 0
	for client, last := range acked {
		for n := uint64(1); n <= last; n++ {
			if !held[record{client, n}] {
				lost++
			}
		}
	}
	return lost
}
