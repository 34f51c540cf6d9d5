package discovery

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/rosproxy/rosproxy/discovery/internal/reporter"
	"github.com/rosproxy/rosproxy/discovery/internal/text"
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
	// ClearMaster: label has no master, as l says. Called again for the same
	// loss when live connections, which were to stay at first, must end.
	ClearMaster(label string, l Loss)
	// Confirm: a consistent read that began at begun, a time since boot
	// (CLOCK_BOOTTIME), has named the master that label has now. So whoever
	// stood still and goes on (SIGSTOP, a suspended machine) may wait for one
	// that began afterwards. A static master is never confirmed.
	Confirm(label string, begun time.Duration)
	// Lease: from until on, a time since boot, nothing may be passed on for
	// label until Lease is called again, since Consul has not been heard of
	// for too long. It holds for a process that stands still, too, and cannot
	// be told. Only called where an outage is to be fenced; without a call
	// there is no end.
	Lease(label string, until time.Duration)
	// Event: a line of the log has told what concerns all labels: event is
	// "activation", fields are name and value in turn.
	Event(event, message string, fields []any)
}

// Loss says why a label has no master.
type Loss struct {
	State State  // any but Starting and Found
	Why   string // for people, in one line; empty: State says it all
	Cut   bool   // live connections must end; else they stay, since nothing better exists yet
}

// Source is a source of masters.
//
// Run tells sink the full first set as soon as it is known, then every change,
// and returns when ctx ends, with no goroutine of its own left. It returns an
// error only for a fault that no retry can fix; a Consul that is away is not one.
// The others but Withdraw never block, and may be called at any time.
type Source interface {
	Run(ctx context.Context, sink Sink) error
	// VerifyNow begins a consistent read of everything that is watched, soon
	// to be followed by Confirm. Called often, it does no harm.
	VerifyNow()
	// DialFailed is a hint: the master of label does not accept connections.
	// Where it is known by a host name, that is looked up again, and another
	// of its addresses is tried. Called often, it does no harm.
	DialFailed(label string)
	// Withdraw takes away what the process has reported of itself (Reports), which
	// nobody has to wait for any more. It is called when Run has returned and the last
	// connection has ended, and returns when that is done or ctx has ended.
	Withdraw(ctx context.Context)
	Labels() []LabelStatus // one a label, in the order of the configuration
	Agents() []AgentStatus // one a Consul address; none for a static source
	// Datacenters is what is known of the active one; nil: there are not several.
	Datacenters() *DatacentersStatus
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
	Inactive    State = "no active data centre"
	Standby     State = "standby" // the active data centre is another one, and the policy is to hold
)

// LabelStatus is what a source knows of one label.
type LabelStatus struct {
	Label       string
	State       State
	MastersSeen int
	Source      string        // service, leader-key or static
	Leader      *LeaderStatus // with a leader key; nil: not read yet. Must not be changed
	Report      *ReportStatus // with fence reports. Must not be changed
	Why         string        // there is no master, for people, in one line; empty: there is one, or State says it all
	Failing     []Failing     // with None: who would be master if its checks passed, at most 16. Must not be changed
}

// Where the master of a label comes from (LabelStatus.Source).
const (
	SourceService   = "service"
	SourceLeaderKey = "leader-key"
	SourceStatic    = "static"
)

// ReportStatus is what a process has reported of a label.
type ReportStatus = reporter.Status

// LeaderStatus is what a leader key says.
type LeaderStatus struct {
	Key         string
	Holder      string // the value: the name of a member, or an address; empty: the key is absent
	Locked      bool   // a session holds it
	ModifyIndex uint64 // 0: the key is absent
	Ready       bool   // the holder has been found ready, and is master
}

// Failing is an instance that would be master if its checks passed.
type Failing struct {
	ServiceID string
	Node      string
	Check     string // the name of the worst that does not pass
	Status    string // warning, critical or maintenance
}

func (f Failing) String() string {
	return fmt.Sprintf("%s on %s: check %s is %s", text.Quoted(f.ServiceID), text.Quoted(f.Node), text.Quoted(f.Check), f.Status)
}

// DatacentersStatus is what a source knows of which of several data centres is active.
type DatacentersStatus struct {
	Own    string // of the agents; empty: not known yet
	Active string // empty: nobody is, or it is not known who
	Term   uint64 // the highest that was read; 0: none
	Why    string // there is no active one, for people; empty: there is
	All    []DatacenterStatus
}

// DatacenterStatus is one of several data centres.
type DatacenterStatus struct {
	Name  string
	Up    bool   // its entry can be read
	Error string // why not
}

// AgentStatus is what a source knows of one Consul address.
type AgentStatus struct {
	Address     string
	OK          bool
	LastContact time.Time // of the last good answer; zero: never
	Index       uint64    // the highest that the latest answers had
	Error       string    // the trouble at the moment; empty when OK
	Errors      uint64    // answers not obtained or not understood, since the start
	IndexResets uint64    // times the raft index went backwards, since the start
}

// Label is one group of candidates that has one master. What it has of its own
// counts instead of what Config says for all.
type Label struct {
	Name string
	// Tagged: the master must also carry the tag label=Name. Without it any
	// instance of the service that carries the master's tags will do.
	Tagged bool

	Service     string     // empty: Config.Service
	Tags        []string   // empty: Config.Tags
	Datacenter  string     // empty: Config.Datacenter, or Config.Datacenters
	Datacenters []string   // none: Config.Datacenters, or Config.Datacenter
	Leader      *LeaderKey // not nil: it says who is master, and not the service
	Policy      *Policy    // nil: that of Config
	Reports     *Reports   // nil: those of Config
}

// LeaderKey is an entry of Consul's KV store that the leader holds: whoever
// holds it, or is named by it, is master.
type LeaderKey struct {
	Key         string
	Format      LeaderFormat
	LockIgnored bool // the value alone counts (orchestrator); else a key that no session holds names nobody
	Ready       LeaderReady
}

// LeaderFormat is how the value of a leader key names the master.
type LeaderFormat int

// The formats.
const (
	AddressFormat LeaderFormat = iota // HOST:PORT
	PatroniFormat                     // the name of a member, whose conn_url and api_url are in members/NAME beside the key
)

// LeaderReady is when a new leader becomes master.
type LeaderReady int

// When a leader is ready.
const (
	ReadyNow     LeaderReady = iota // at once
	ReadyAPI                        // its REST API answers GET /primary with 200; with PatroniFormat
	ReadyCatalog                    // an instance of the label's service and tags at its address is passing
)

// Policy says what becomes of a label's master in doubtful cases.
type Policy struct {
	OnOutage   OutagePolicy
	FenceAfter time.Duration // as Config.FenceAfter
	OnConflict ConflictPolicy
	OnLost     LostPolicy
	LostAfter  time.Duration // as Config.LostAfter
}
