package proxy

import (
	"math"
	"time"
)

// A process that was stopped, or whose machine was, has missed what happened
// meanwhile: the master that it knows may have been deposed. So a shard that
// finds that it stood still moves nothing for a label until a read that began
// afterwards has confirmed its master (Proxy.Confirm).

// stoodStill puts every label in doubt whose masters are to be confirmed.
func (s *shard) stoodStill(now int64) {
	began := s.doubts.since == 0
	doubtful := false
	for i, lb := range s.labels {
		s.doubts.about[i] = lb.revalidate != 0
		doubtful = doubtful || s.doubts.about[i]
	}
	if !doubtful {
		return
	}
	s.doubts.since = now
	if began {
		s.inDoubt.Add(1)
	}
	s.warnStandstill(time.Duration(now - s.now))
	if s.config.OnStandstill != nil {
		s.config.OnStandstill()
	}
}

// standstillWarnings are at least this far apart: every shard finds a standstill,
// and a process that has too little CPU has one after the other.
const standstillWarnings = 10 * time.Second

func (g *shared) warnStandstill(d time.Duration) {
	now := g.clock.now()
	last := g.lastStandstill.Load()
	if last != 0 && now-last < int64(standstillWarnings) || !g.lastStandstill.CompareAndSwap(last, now) {
		return
	}
	g.log.Warn().Float64("stood_still_ms", milliseconds(d)).
		Msg("the process stood still: connections wait until their masters are confirmed")
}

// settleDoubts lets the labels go on whose doubt is over.
func (s *shard) settleDoubts() {
	if s.doubts.since == 0 {
		return
	}
	left := false
	for i, lb := range s.labels {
		if !s.doubts.about[i] {
			continue
		}
		if !s.doubts.isOver(lb, s.now) {
			left = true
			continue
		}
		s.doubts.about[i] = false
		s.resume(lb)
	}
	if !left {
		s.doubts.since = 0
		s.inDoubt.Add(-1)
	}
}

// doubtsEnd is when the first doubt ends without a confirmation.
func (s *shard) doubtsEnd() int64 {
	end := int64(math.MaxInt64)
	for i, lb := range s.labels {
		if s.doubts.about[i] && lb.revalidate > 0 {
			end = min(end, s.doubts.since+int64(lb.revalidate))
		}
	}
	return end
}
