package consultest

import (
	"maps"
	"time"
)

// state is what Consul's servers agree on: the catalog, the sessions, the
// keys, and the one raft index all of them share. Its methods check a change
// whole before they make any of it, and leave locking to the store.
//
// Rows are values and what they point to is never written again, so that a
// shallow copy of the maps is a copy of the state.
type state struct {
	index uint64 // of the last write, whether it changed anything or not

	nodes    map[string]nodeRow
	services map[serviceKey]serviceRow
	checks   map[checkKey]checkRow
	touched  map[string]uint64 // by service name: the last change of anything an answer about it shows
	extinct  uint64            // when any service last lost its last instance
	catalog  uint64            // the last change of a node, service or check

	keys      map[string]keyRow
	graves    map[string]uint64 // by key: when it was deleted
	keysIndex uint64

	sessions      map[string]sessionRow
	sessionsIndex uint64
	lockDelays    map[string]time.Time // by key: no lock before that time
}

type (
	serviceKey struct{ node, id string }
	checkKey   struct{ node, id string }
)

func newState() *state {
	return &state{
		nodes:      map[string]nodeRow{},
		services:   map[serviceKey]serviceRow{},
		checks:     map[checkKey]checkRow{},
		touched:    map[string]uint64{},
		keys:       map[string]keyRow{},
		graves:     map[string]uint64{},
		sessions:   map[string]sessionRow{},
		lockDelays: map[string]time.Time{},
	}
}

// clone is a copy that later writes to st do not reach.
func (st *state) clone() *state {
	c := *st
	c.nodes = maps.Clone(st.nodes)
	c.services = maps.Clone(st.services)
	c.checks = maps.Clone(st.checks)
	c.touched = maps.Clone(st.touched)
	c.keys = maps.Clone(st.keys)
	c.graves = maps.Clone(st.graves)
	c.sessions = maps.Clone(st.sessions)
	c.lockDelays = maps.Clone(st.lockDelays)
	return &c
}

// rewind sets the index to i, as a cluster restored from a snapshot does:
// nothing may carry an index of the future.
func (st *state) rewind(i uint64) {
	st.index = i
	for _, at := range []*uint64{&st.extinct, &st.catalog, &st.keysIndex, &st.sessionsIndex} {
		*at = min(*at, i)
	}
	for name, at := range st.touched {
		st.touched[name] = min(at, i)
	}
	for key, at := range st.graves {
		st.graves[key] = min(at, i)
	}
	for name, n := range st.nodes {
		n.clamp(i)
		st.nodes[name] = n
	}
	for key, s := range st.services {
		s.clamp(i)
		st.services[key] = s
	}
	for key, c := range st.checks {
		c.clamp(i)
		st.checks[key] = c
	}
	for key, k := range st.keys {
		k.clamp(i)
		st.keys[key] = k
	}
	for id, s := range st.sessions {
		s.clamp(i)
		st.sessions[id] = s
	}
}

// indexes are the two that every row of Consul has.
type indexes struct {
	CreateIndex uint64
	ModifyIndex uint64
}

func (x *indexes) clamp(i uint64) {
	x.CreateIndex = min(x.CreateIndex, i)
	x.ModifyIndex = min(x.ModifyIndex, i)
}

// at is x after a change at idx; a row that was not there is created.
func (x indexes) at(idx uint64) indexes {
	if x.CreateIndex == 0 {
		x.CreateIndex = idx
	}
	x.ModifyIndex = idx
	return x
}
