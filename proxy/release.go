package proxy

// Clients that wait for a master are released when there is one: who has waited
// longest goes first, and one that comes meanwhile goes behind them. Where there
// is a Config.ReleaseRate, the shards release them together at that rate.

const (
	// releasesPerIteration bounds how many clients one iteration of the loop
	// releases, and releaseSlice how many of one label before the next label's.
	releasesPerIteration = 256
	releaseSlice         = 32
)

// release sends clients on their way that are first in their queues: some of one label, then
// some of the next. What is urgent is read before each.
func (s *shard) release() {
	if len(s.releasing) == 0 || s.releaseAt > s.now {
		return
	}
	s.releaseAt = never
	left, waiting := releasesPerIteration, 0 // labels in a row whose next client is to wait
	for left > 0 && waiting < len(s.releasing) {
		lb := s.releasing[0]
		s.releasing = s.releasing[1:]
		released, again := s.releaseFrom(lb, min(left, releaseSlice))
		left -= released
		if t := &s.releases[lb.index]; len(t.conns) == 0 {
			t.listed = false
			continue
		}
		s.releasing = append(s.releasing, lb)
		s.releaseAt = min(s.releaseAt, again)
		if waiting++; again == 0 {
			waiting = 0
		}
	}
	if left <= 0 { // there may be labels that were not looked at
		s.releaseAt = 0
	}
}

// releaseFrom releases at most so many clients of lb, and answers how many, and
// when the next may be.
func (s *shard) releaseFrom(lb *label, most int) (released int, again int64) {
	t := &s.releases[lb.index]
	for ; released < most; released++ {
		s.readUrgent()
		if len(t.conns) == 0 {
			return released, never
		}
		c := t.conns[0]
		if lb.pace != nil && lb.takesClients() && !lb.isUncertain(s.loop) {
			ok, at, before := lb.pace.allow(s.number, c.waitingSince, s.clock.now())
			if !ok {
				if before >= 0 {
					s.peers[before].releaseNow()
				}
				return released, at
			}
		}
		c.unqueueRelease(s.loop)
		if c.state == held || c.state == arrived { // and not cut meanwhile
			c.dial(s.loop)
		}
		s.lookAtClock()
	}
	return released, 0
}

// releaseNow has the shard look at once whether it may release a client.
func (s *shard) releaseNow() {
	if s.called.Swap(true) {
		return
	}
	s.mail.post(func() (more bool) {
		s.called.Store(false)
		s.releaseAt = 0
		return false
	})
}
