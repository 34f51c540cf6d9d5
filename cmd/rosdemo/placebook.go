package main

import (
	"slices"
	"sync"
	"time"
)

// acknowledgement is a record that a client was told is safe.
type acknowledgement struct {
	record
	place string    // data centre of the worker that said so
	at    time.Time // when the client heard it
}

// placeBook is which data centre acknowledged what.
type placeBook struct {
	of map[string]string // data centre of each worker

	mu     sync.Mutex
	acks   []acknowledgement
	active string // the one whose masters may acknowledge; empty: none has yet
	next   string // the one that an activation has been begun for: its first acknowledgement makes it the active one
	since  time.Time
	both   int // acknowledgements by one while the other was the active one
}

// take books an acknowledgement.
func (b *placeBook) take(r record, worker string, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	place := b.of[worker]
	b.acks = append(b.acks, acknowledgement{r, place, now})
	switch {
	case place == b.active:
	case place == b.next:
		b.active, b.next, b.since = place, "", now
	default:
		b.both++
	}
}

// expect says that the activation of a place has begun.
func (b *placeBook) expect(place string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if place != b.active {
		b.next = place
	}
}

// activeSince is the place that acknowledges, and when it began to.
func (b *placeBook) activeSince() (place string, since time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.active, b.since
}

// byTwo counts what was acknowledged by one place while the other was the active one.
func (b *placeBook) byTwo() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.both
}

// all are the acknowledgements so far.
func (b *placeBook) all() []acknowledgement {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.acks)
}

// gap is the longest time in which nothing was acknowledged.
func gap(acks []acknowledgement) (longest time.Duration) {
	slices.SortFunc(acks, func(a, b acknowledgement) int { return a.at.Compare(b.at) })
	for i := 1; i < len(acks); i++ {
		longest = max(longest, acks[i].at.Sub(acks[i-1].at))
	}
	return longest
}

// missing are those of acks whose records held lacks.
func missing(acks []acknowledgement, held map[record]bool) []acknowledgement {
	return slices.DeleteFunc(slices.Clone(acks), func(a acknowledgement) bool { return held[a.record] })
}

// loss sorts the acknowledged records that are not there any more.
type loss struct {
	byDesign map[record]bool // acknowledged by the place that was lost, since its last backup was taken
	other    map[record]bool
}

// judge adds what is missing, of which may be what the place that was lost
// acknowledged after the moment taken.
func (l *loss) judge(missing []acknowledgement, lost string, taken time.Time) {
	if l.byDesign == nil {
		l.byDesign, l.other = map[record]bool{}, map[record]bool{}
	}
	for _, a := range missing {
		switch {
		case l.byDesign[a.record]:
		case a.place == lost && a.at.After(taken):
			l.byDesign[a.record] = true
		default:
			l.other[a.record] = true
		}
	}
}
