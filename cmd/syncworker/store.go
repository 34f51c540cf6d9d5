package main

import (
	"context"
	"sync"
)

// record is what a client writes: its n-th number.
type record struct {
	client string
	n      uint64
}

// store holds records in the order in which they were first put. The order is
// the position that replication counts in: a copy that has position p has
// every record up to it.
//
// A log only ever grows at its end, or is replaced as a whole by a complete
// copy: a slice handed out stays valid, and a store is at no moment incomplete.
type store struct {
	mu      sync.Mutex
	history string // that the records are of; empty: of none
	log     []record
	at      map[record]int // position, from 1
	grown   chan struct{}  // closed, and made anew, when the log changes
}

func newStore() *store {
	return &store{at: make(map[record]int), grown: make(chan struct{})}
}

// put adds r, unless it is there already, and answers its position.
func (s *store) put(r record) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, ok := s.at[r]; ok {
		return p
	}
	s.log = append(s.log, r)
	s.at[r] = len(s.log)
	s.wakeLocked()
	return len(s.log)
}

// after returns the records behind position p, and a channel that is closed
// when there are more.
func (s *store) after(p int) ([]record, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p = min(p, len(s.log))
	return s.log[p:len(s.log):len(s.log)], s.grown
}

// await returns the records behind position p as soon as there are any; none
// when ctx ends first.
func (s *store) await(ctx context.Context, p int) []record {
	for {
		log, grown := s.after(p)
		if len(log) > 0 {
			return log
		}
		select {
		case <-ctx.Done():
			return nil
		case <-grown:
		}
	}
}

// size is the last position.
func (s *store) size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.log)
}

// replace makes the complete copy log, of that history, the content of the store.
func (s *store) replace(log []record, history string) {
	at := make(map[record]int, len(log))
	for i, r := range log {
		at[r] = i + 1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log, s.at, s.history = log, at, history
	s.wakeLocked()
}

// enter says that what the store holds is of that history.
func (s *store) enter(history string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history = history
}

// holds answers how many records the store has, and of which history.
func (s *store) holds() (records int, history string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.log), s.history
}

func (s *store) wakeLocked() {
	close(s.grown)
	s.grown = make(chan struct{})
}
