// Package discovery finds out who is master of each label and tells a Sink.
package discovery

import (
	"context"
	"net/netip"
	"time"
)

// Master is one master as a source names it.
type Master struct {
	Address   netip.AddrPort
	ServiceID string
	Node      string
	Seen      time.Time // when the answer that named it arrived; zero: not known
}

// Sink is told what a source of masters decides. The calls for one label
// never overlap and come in the order of the decisions. Calls may block.
type Sink interface {
	// SetMaster: m is the master of label. A repeat of the same address must be harmless.
	SetMaster(label string, m Master)
	// ClearMaster: label has no master. Without cut live connections stay,
	// since nothing better exists yet; with cut (a refused conflict, a fenced
	// outage) they must end.
	ClearMaster(label string, cut bool)
}

// Source is a source of masters.
//
// Run tells sink the full first set as soon as it is known, then every change,
// and returns when ctx ends, with no goroutine of its own left. It returns an
// error only for a fault that no retry can mend; a Consul that is away is not one.
type Source interface {
	Run(ctx context.Context, sink Sink) error
	Labels() []LabelStatus // one a label, in the order of the configuration
	Agents() []AgentStatus // one a Consul address; none for a static source
}

// State of a label as its source sees it.
type State string

// The states. All but Found make the label unready.
const (
	Starting    State = "starting"           // never had an answer yet
	Found       State = "found"              // there is a master
	None        State = "no master"          // Consul says there is none
	Conflict    State = "conflict"           // two claim to be master, and the policy is refuse
	Unreachable State = "consul unreachable" // for longer than fence-after, and the policy is fence
)

// LabelStatus is what a source knows of one label.
type LabelStatus struct {
	Label       string
	State       State
	MastersSeen int
}

// AgentStatus is what a source knows of one Consul address.
type AgentStatus struct {
	Address     string
	OK          bool
	LastContact time.Time // of the last good answer; zero: never
	Index       uint64
	Error       string // the trouble at the moment; empty when OK
	Errors      uint64 // answers not obtained or not understood, since the start
	IndexResets uint64 // times the raft index went backwards, since the start
}

// Label is one group of candidates that has one master.
type Label struct {
	Name string
	// Tagged: the master must also carry the tag label=Name. Without it any
	// instance of the service that carries the master's tags will do.
	Tagged bool
}
