package consultest

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// What becomes of a session's locks when it ends.
const (
	behaviorRelease = "release"
	behaviorDelete  = "delete"
)

// Limits of Consul's own.
const (
	defaultLockDelay = 15 * time.Second
	maxLockDelay     = time.Minute
	maxSessionTTL    = 24 * time.Hour
)

type sessionRow struct {
	ID            string
	Name          string
	Node          string
	LockDelay     time.Duration // nanoseconds in JSON, as Consul has it
	Behavior      string
	TTL           string
	NodeChecks    []string
	ServiceChecks []serviceCheck
	indexes
}

type serviceCheck struct{ ID, Namespace string }

// hangsOn reports whether the check's failure ends the session.
func (s sessionRow) hangsOn(node, check string) bool {
	return s.Node == node && (slices.Contains(s.NodeChecks, check) ||
		slices.ContainsFunc(s.ServiceChecks, func(c serviceCheck) bool { return c.ID == check }))
}

// addSession begins a session, if its node and checks are there and none is critical.
func (st *state) addSession(s sessionRow, idx uint64) error {
	if _, ok := st.nodes[s.Node]; !ok {
		return saying("Missing node registration")
	}
	ids := slices.Clone(s.NodeChecks)
	for _, c := range s.ServiceChecks {
		ids = append(ids, c.ID)
	}
	for _, id := range ids {
		c, ok := st.checks[checkKey{s.Node, id}]
		if !ok {
			return saying("Missing check '%s' registration", id)
		}
		if c.Status == Critical {
			return saying("Check '%s' is in %s state", id, c.Status)
		}
	}
	s.indexes = indexes{idx, idx}
	st.sessions[s.ID] = s
	st.sessionsIndex = idx
	return nil
}

// endSession ends a session, however it came to that: its locks are released
// or deleted, and nobody may take them again before the lock delay is over.
func (st *state) endSession(id string, idx uint64) {
	s, ok := st.sessions[id]
	if !ok {
		return
	}
	delete(st.sessions, id)
	st.sessionsIndex = idx
	delay := min(s.LockDelay, maxLockDelay)
	for key, k := range st.keys {
		if k.Session != id {
			continue
		}
		if s.Behavior == behaviorDelete {
			st.deleteKey(key, idx)
		} else {
			k.Session = ""
			st.putKey(k, idx)
		}
		if delay > 0 {
			st.lockDelays[key] = time.Now().Add(delay)
		}
	}
}

func (st *state) endSessionsOf(node, check string, idx uint64) {
	for id, s := range st.sessions {
		if s.hangsOn(node, check) {
			st.endSession(id, idx)
		}
	}
}

// listSessions lists the sessions, of one node where it is named, by age.
func (st *state) listSessions(node string) []sessionRow {
	out := []sessionRow{}
	for _, s := range st.sessions {
		if node == "" || s.Node == node {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b sessionRow) int {
		return cmp.Or(cmp.Compare(a.CreateIndex, b.CreateIndex), strings.Compare(a.ID, b.ID))
	})
	return out
}
