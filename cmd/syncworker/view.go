package main

import (
	"encoding/json"
	"slices"

	"github.com/hashicorp/consul/api"
)

// view is what Consul holds on the label at one moment.
type view struct {
	master, slave lock
	inSync        inSync
	index         uint64 // ModifyIndex of the in-sync key; 0: there is none yet
}

// lock is one lock key. It is vacant while Session is empty; holder may then
// still name the last one.
type lock struct {
	session string
	holder  holder
}

// holder is the value of a lock key.
type holder struct {
	ID      string `json:"id"`
	Address string `json:"address"`
}

func (l *lock) decode(p *api.KVPair) error {
	l.session = p.Session
	if len(p.Value) == 0 { // a release empties it
		return nil
	}
	return json.Unmarshal(p.Value, &l.holder)
}

// inSync is the value of the label's in-sync key: who has a complete copy, and
// so who may become master. Only a compare-and-swap changes it, which makes it
// the arbiter: whoever swaps in the next epoch is master of it, and no earlier
// master can change the set any more.
//
//   - A master takes a slave out of it before it acknowledges a record that the
//     slave may not have.
//   - It puts a slave in only when the slave has everything, and no record is
//     acknowledged without it any more.
type inSync struct {
	Epoch   uint64   `json:"epoch"`
	Members []member `json:"members"` // the master first
	// History names the data, of which every master is the next keeper. A group
	// that starts empty begins one, and so does one that starts from a backup:
	// what the former group writes after the backup is none of its records.
	// Positions and epochs of different histories do not compare.
	History  string `json:"history"`
	Restored *point `json:"restored,omitempty"` // the backup that the history began with; nil: empty
	// Pristine: nothing but the backup is in the history. It is taken away
	// before the first record of a client is acknowledged.
	Pristine bool `json:"pristine,omitempty"`
}

// member is one run of a worker. A worker that was restarted is empty, so its
// SYNC_ID alone must not count.
type member struct {
	ID          string `json:"id"`
	Incarnation string `json:"incarnation"`
}

func (s inSync) equal(o inSync) bool {
	sameOrigin := s.Restored == o.Restored || s.Restored != nil && o.Restored != nil && *s.Restored == *o.Restored
	return s.Epoch == o.Epoch && s.History == o.History && s.Pristine == o.Pristine && sameOrigin && slices.Equal(s.Members, o.Members)
}

// sameTerm reports whether both are sets of one master in one of its terms. The
// epoch alone does not say so: a Consul that was wiped counts from 1 again.
func (s inSync) sameTerm(o inSync) bool {
	return s.Epoch == o.Epoch && s.History == o.History && len(s.Members) > 0 && len(o.Members) > 0 && s.Members[0] == o.Members[0]
}

// candidate is what a worker brings to the election.
type candidate struct {
	member
	history string // that its records are of; empty: it has none, or those of a backup that began nothing yet
	whole   bool   // it has a full copy of the master that it follows now
	last    inSync // the last set that it has seen
	backup  *point // the backup that --restore gave it; nil: none
	over    string // the history that the backup may replace; empty: none
}

// mayLead reports whether c has a complete copy, or one that a group may begin
// with. Where nothing is written down there is no data yet, and an empty copy is
// complete: unless the worker has seen a set, which means that Consul was wiped.
// Then the last one that it saw has to do.
func (v view) mayLead(c candidate) bool {
	switch {
	case v.begins(c):
		return true
	case v.index == 0:
		return c.last.Epoch == 0 || slices.Contains(c.last.Members, c.member)
	default:
		return slices.Contains(v.inSync.Members, c.member)
	}
}

// begins reports whether the label's group may begin with c's backup: where there
// is none, in place of the one that the backup is to replace, and where a group
// began with a backup of the same history and no client has written since.
func (v view) begins(c candidate) bool {
	switch {
	case c.backup == nil:
		return false
	case v.index == 0:
		return c.history == "" && c.last.Epoch == 0
	default:
		return v.replaced(c) || v.inSync.Pristine && v.inSync.descends(c.backup)
	}
}

// replaced reports whether the label's group is the one that c's backup is to replace.
func (v view) replaced(c candidate) bool {
	return v.index > 0 && c.backup != nil && c.over != "" && v.inSync.History == c.over
}

// descends reports whether the group began with a backup of the history that b is of.
func (s inSync) descends(b *point) bool { return s.Restored != nil && s.Restored.History == b.History }

// step is what a worker should do next.
type step int

const (
	lead          step = iota // the master lock is this worker's
	runForMaster              // it is vacant, and this copy is complete
	runForSlave               // the slave lock is vacant, and this worker has the master's copy
	followAsSlave             // the slave lock is this worker's
	followAsSpare             // anything else
	awaitVacancy              // the group that this worker's backup is to replace has a master yet
)

// decide says what the worker c, whose session is session, has to do.
func decide(v view, session string, c candidate) step {
	switch {
	case v.master.session == session:
		return lead
	case v.master.session == "" && v.mayLead(c):
		return runForMaster
	case v.replaced(c):
		return awaitVacancy
	case v.slave.session == session:
		return followAsSlave
	case v.slave.session == "" && c.whole:
		return runForSlave
	default:
		return followAsSpare
	}
}
