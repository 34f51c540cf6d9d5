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
}

// member is one run of a worker. A worker that was restarted is empty, so its
// SYNC_ID alone must not count.
type member struct {
	ID          string `json:"id"`
	Incarnation string `json:"incarnation"`
}

func (s inSync) equal(o inSync) bool {
	return s.Epoch == o.Epoch && slices.Equal(s.Members, o.Members)
}

// mayLead reports whether m has a complete copy. Where nothing was ever written
// down there is no data yet, and an empty copy is complete.
func (v view) mayLead(m member) bool {
	return v.index == 0 || slices.Contains(v.inSync.Members, m)
}

// step is what a worker should do next.
type step int

const (
	lead          step = iota // the master lock is this worker's
	runForMaster              // it is vacant, and this copy is complete
	runForSlave               // the slave lock is vacant, and this worker has the master's copy
	followAsSlave             // the slave lock is this worker's
	followAsSpare             // anything else
)

// decide says what the worker me, whose session is session, has to do; whole
// reports whether it has a full copy of the master that it follows now.
func decide(v view, session string, me member, whole bool) step {
	switch {
	case v.master.session == session:
		return lead
	case v.master.session == "" && v.mayLead(me):
		return runForMaster
	case v.slave.session == session:
		return followAsSlave
	case v.slave.session == "" && whole:
		return runForSlave
	default:
		return followAsSpare
	}
}
