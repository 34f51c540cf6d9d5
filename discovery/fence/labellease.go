package fence

import "time"

// LabelLease is the state machine of one label in a process's entry: whether the label
// may have connections. All times are since boot. The zero LabelLease is out.
type LabelLease struct {
	Life     int           // of the Beat that it belongs to
	Revision uint64        // from which on the entry has it; 0: it is out
	Stood    time.Duration // when the answer came that Consul has it; 0: not yet
	Read     time.Duration // when the newest consistent read began that succeeded since; 0: none
}

// Join has the label written into the entry of life, by revision.
func (s LabelLease) Join(life int, revision uint64) LabelLease {
	return LabelLease{Life: life, Revision: revision}
}

// Stand takes that Consul has acknowledged what b says it has.
func (s LabelLease) Stand(now time.Duration, b Beat) LabelLease {
	if s.Revision > 0 && s.Stood == 0 && s.Life == b.Life && b.Stands && b.Acked >= s.Revision {
		s.Stood = now
	}
	return s
}

// Admits reports whether a consistent read that began at begun may connect
// clients to the master that it names (rule 4).
func (s LabelLease) Admits(begun time.Duration) bool { return s.Stood > 0 && begun > s.Stood }

// Look takes that a consistent read that began at begun has succeeded.
func (s LabelLease) Look(begun time.Duration) LabelLease {
	if s.Admits(begun) {
		s.Read = max(s.Read, begun)
	}
	return s
}

// Lease is when the label's right to have connections ends; 0: it has none.
func (s LabelLease) Lease(b Beat) time.Duration {
	if s.Read == 0 || s.Life != b.Life {
		return 0
	}
	return min(b.Ends(), s.Read+LeaseOf(b.TTL))
}

// IsOver reports whether the right to have connections has ended by now, or the
// report that gave it is gone; rule 3: that comes before any answer.
func (s LabelLease) IsOver(now time.Duration, b Beat) bool {
	if s.Revision == 0 {
		return false
	}
	if s.Life != b.Life {
		return true
	}
	if s.Read > 0 {
		return now >= s.Lease(b)
	}
	return s.Stood > 0 && now >= s.Stood+LeaseOf(b.TTL) // nothing could be read since: leave, so that nobody waits
}
