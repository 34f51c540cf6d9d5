package fence

import "time"

// LeaseOf is how long an entry with that TTL permits its process to go on, from
// the begin of a write or a read on (rule 2). At most 98 % of the TTL, less the
// longest time from the look at the lease to the system call, would do.
func LeaseOf(ttl time.Duration) time.Duration { return ttl - ttl/5 }

// Beat is the state machine of one process's entry (rule 1). All times are since
// boot. The zero Beat but for its TTL has no entry.
type Beat struct {
	TTL time.Duration

	Life   int    // how often it has lapsed: each life has a key of its own
	Stands bool   // Consul has the entry
	Index  uint64 // its ModifyIndex
	Begun  time.Duration
	Acked  uint64 // the revision that Consul is known to have

	Writing  bool // a write is in flight
	Doubtful bool // one went unanswered: the entry must be read back
	Pending  Write
	Beats    uint64 // writes begun
}

// Write is one write of the entry.
type Write struct {
	Life     int
	Beat     uint64
	Revision uint64        // of what it says
	CAS      uint64        // ModifyIndex of the entry that it replaces; 0: there must be none
	Begun    time.Duration // since boot
}

// Ends is when what the entry permits ends; 0: it permits nothing.
func (b Beat) Ends() time.Duration {
	if !b.Stands {
		return 0
	}
	return b.Begun + LeaseOf(b.TTL)
}

// IsOver reports whether the lease has ended by now, and Lapse was not called yet.
func (b Beat) IsOver(now time.Duration) bool { return b.Stands && now >= b.Ends() }

// Due is when the next write begins, of an entry that is to say revision.
func (b Beat) Due(revision uint64) time.Duration {
	if !b.Stands || b.Acked < revision {
		return 0
	}
	return b.Begun + b.TTL/5
}

// Begin begins a write. None may be in flight or in doubt.
func (b Beat) Begin(now time.Duration, revision uint64) Beat {
	b.Beats++
	b.Writing = true
	b.Pending = Write{Life: b.Life, Beat: b.Beats, Revision: revision, CAS: b.Index, Begun: now}
	return b
}

// Answered takes that Consul has made write w, as index. What was begun before a
// lapse gives nothing (rule 3).
func (b Beat) Answered(now time.Duration, w Write, index uint64) Beat {
	if w != b.Pending {
		return b
	}
	if b.IsOver(now) || now >= w.Begun+LeaseOf(b.TTL) {
		return b.Lapse()
	}
	b.Writing, b.Doubtful = false, false
	b.Stands, b.Index, b.Begun, b.Acked = true, index, w.Begun, w.Revision
	return b
}

// Refused takes that the compare-and-set of w has failed: the entry is lost.
func (b Beat) Refused(w Write) Beat {
	if w != b.Pending {
		return b
	}
	return b.Lapse()
}

// Unanswered takes that nobody knows whether w was made.
func (b Beat) Unanswered(w Write) Beat {
	if w == b.Pending {
		b.Writing, b.Doubtful = false, true
	}
	return b
}

// ReadBack takes what a consistent read found of the entry after an unanswered
// write: at index, and of which beat; index 0: it is absent.
func (b Beat) ReadBack(now time.Duration, index, beat uint64) Beat {
	switch {
	case !b.Doubtful:
		return b
	case index != 0 && beat == b.Pending.Beat:
		return b.Answered(now, b.Pending, index)
	case index == b.Index: // it was not made, or has not been yet
		b.Doubtful = false
		return b
	}
	return b.Lapse() // lost, or another's
}

// Lapse ends this life: the entry permits nothing any more, and whatever was begun
// for it gives nothing.
func (b Beat) Lapse() Beat {
	return Beat{TTL: b.TTL, Life: b.Life + 1, Beats: b.Beats}
}
