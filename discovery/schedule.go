package discovery

import (
	"math/rand/v2"
	"time"
)

// maxReads is how many consistent reads of one question one address may have in
// flight.
const maxReads = 4

// schedule says when one address is next asked for a consistent read.
//
// A read that hangs must not keep the next one from starting: behind a Consul
// leader that is frozen or unplugged, each takes its whole time-out, while one
// that began after the servers elected another is answered within
// milliseconds. So while a read goes unanswered others follow, evenly over the
// time-out, and sooner than the reads of an address that is well. They go on
// until a long poll has begun after the first good answer: one from before may
// hang in the dead leader as well, for as long as it waits.
//
// It does no I/O and reads no clock. One goroutine owns it.
type schedule struct {
	wanted   bool          // a read is wanted at once
	earliest time.Time     // before it none begins
	last     time.Time     // when the last one began
	every    time.Duration // until the next, while all is well
	inFlight int
	trouble  bool      // a read went unanswered, and none that began later has been answered
	answered time.Time // when the newest read began that was answered
	well     time.Time // when the first read began that was answered after the last trouble
}

// begin notes that a read begins now, and that the next one shall begin after
// every while all is well.
func (s *schedule) begin(now time.Time, every time.Duration) {
	s.trouble = s.trouble || s.inFlight > 0 && !s.wanted
	s.wanted, s.last, s.every = false, now, every
	s.inFlight++
}

// end notes that the read that began at begun has ended, with an answer or not.
func (s *schedule) end(begun time.Time, answered bool) {
	s.inFlight--
	if begun.Before(s.answered) {
		return // a newer one has been answered: this says nothing of now
	}
	if !answered {
		s.trouble = true
		return
	}
	s.answered = begun
	if s.trouble {
		s.trouble, s.well = false, begun
	}
}

// next answers how long to wait with the next read; false: until one ends.
// sooner is the time between two reads while one is unanswered, and polled
// when the present long poll began.
func (s *schedule) next(now time.Time, sooner time.Duration, polled time.Time) (time.Duration, bool) {
	switch {
	case s.inFlight >= maxReads:
		return 0, false
	case s.wanted:
		return max(0, s.earliest.Sub(now)), true
	}
	wait := s.every
	if s.inFlight > 0 || s.trouble || polled.Before(s.well) {
		wait = min(wait, sooner)
	}
	return max(0, s.earliest.Sub(now), s.last.Add(wait).Sub(now)), true
}

// atMost answers d, or up to an eighth less, so that what is asked again and
// again does not keep step with others.
func atMost(d time.Duration) time.Duration { return d - rand.N(d/8+1) }

// semaphore bounds how many do something at a time.
type semaphore chan struct{}

// take reports whether there was a place.
func (s semaphore) take() bool {
	select {
	case s <- struct{}{}:
		return true
	default:
		return false
	}
}

// give gives a place back that was taken.
func (s semaphore) give() { <-s }
