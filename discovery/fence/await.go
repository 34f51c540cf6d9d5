package fence

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Await is the state machine of await-fence: it looks at lists of reports until
// every one that has the label has obeyed an election, or is dead (rule 6). All
// times are of one clock that goes on while the machine is suspended.
type Await struct {
	Label string
	Index uint64 // the raft index of the election
	// Term is awaited in place of these where it is not 0: that every label of
	// several data centres has seen that term of the active one.
	Term uint64

	seen    map[string]sighting
	longest time.Duration
	reports int
	lowest  uint64
	highest uint64
}

// Reports is how many of the reports in the last list have the label.
func (a *Await) Reports() int { return a.reports }

// Terms are the lowest and the highest term in the reports of the last list, of
// labels of several data centres; 0: there is none.
func (a *Await) Terms() (lowest, highest uint64) { return a.lowest, a.highest }

// Longest is the longest TTL of the reports that have had the label.
func (a *Await) Longest() time.Duration { return a.longest }

// sighting is since when an entry is known not to have changed.
type sighting struct {
	modify uint64
	since  time.Duration
}

// Found is one entry of a list.
type Found struct {
	Key    string
	Modify uint64 // ModifyIndex
	Value  []byte
}

// Behind is a report that has not obeyed yet.
type Behind struct {
	Key      string
	Instance string // empty: it cannot be understood, and the next two are not known
	PID      int
	Obeyed   uint64
	Why      string        // for people
	Since    time.Duration // since when it is known not to have changed
	Dead     time.Duration // when it is dead, unless it changes; 0: never
	Modify   uint64
}

// Look takes the answer to a consistent read of all reports, which arrived at now.
// Nothing is behind: the election has been obeyed. Those whose time has come are
// to be deleted, by compare-and-set on Modify, and read again.
func (a *Await) Look(now time.Duration, list []Found) (behind, dead []Behind) {
	seen := make(map[string]sighting, len(list))
	a.reports, a.lowest, a.highest = 0, 0, 0
	for _, f := range list {
		b, waits := a.judge(f)
		if !waits {
			continue
		}
		s, known := a.seen[f.Key]
		if !known || s.modify != f.Modify {
			s = sighting{modify: f.Modify, since: now}
		}
		seen[f.Key], b.Since = s, s.since
		if b.Dead > 0 {
			b.Dead += s.since
			if now >= b.Dead {
				dead = append(dead, b)
			}
		}
		behind = append(behind, b)
	}
	a.seen = seen
	slices.SortFunc(behind, func(x, y Behind) int { return cmp.Compare(x.Key, y.Key) })
	return behind, dead
}

// judge reports whether f must be waited for. Dead is how long it may stay
// unchanged.
func (a *Await) judge(f Found) (Behind, bool) {
	b := Behind{Key: f.Key, Modify: f.Modify}
	e, err := Parse(f.Value)
	if err != nil {
		// It may be anything, a report of a later version as well.
		b.Why = "cannot be understood: " + err.Error()
		return b, true
	}
	if a.Term > 0 {
		return a.judgeTerms(b, e)
	}
	s, ok := e.Labels[a.Label]
	if ok {
		a.longest, a.reports = max(a.longest, e.Expires()), a.reports+1
	}
	if !ok || s.Elsewhere || s.Obeyed >= a.Index {
		return b, false
	}
	b.Instance, b.PID, b.Obeyed = e.Instance, e.PID, s.Obeyed
	b.Why = fmt.Sprintf("has obeyed index %d", s.Obeyed)
	b.Dead = DeadAfter(e.Expires())
	return b, true
}

// maxLate bounds how many labels of a report are named: it may have thousands.
const maxLate = 5

// judgeTerms is judge where a term is awaited.
func (a *Await) judgeTerms(b Behind, e Entry) (Behind, bool) {
	var late []string
	several := false
	for _, label := range slices.Sorted(maps.Keys(e.Labels)) {
		term := e.Labels[label].Term
		if term == 0 {
			continue // of one data centre
		}
		several = true
		if a.highest = max(a.highest, term); a.lowest == 0 || term < a.lowest {
			a.lowest = term
		}
		if term < a.Term {
			late = append(late, fmt.Sprintf("%s (term %d)", label, term))
		}
	}
	if several {
		a.longest, a.reports = max(a.longest, e.Expires()), a.reports+1
	}
	if late == nil {
		return b, false
	}
	b.Instance, b.PID = e.Instance, e.PID
	if more := len(late) - maxLate; more > 0 {
		late = append(late[:maxLate:maxLate], fmt.Sprintf("and %d labels more", more))
	}
	b.Why = fmt.Sprintf("has not seen term %d: %s", a.Term, strings.Join(late, ", "))
	b.Dead = DeadAfter(e.Expires())
	return b, true
}

// DeadAfter is how long an entry must stay unchanged to be dead: its TTL, and 2 %
// for clocks that do not go alike.
func DeadAfter(ttl time.Duration) time.Duration { return ttl + ttl/50 }
