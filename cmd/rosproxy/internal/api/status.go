package api

import (
	"time"

	"github.com/rosproxy/rosproxy/drain"
)

// Status is the answer of /status; its names are the contract's.
type Status struct {
	Version    string         `json:"version"`
	State      drain.Phase    `json:"state"`
	Uptime     float64        `json:"uptime_s"`
	PID        int            `json:"pid"`
	Generation int            `json:"generation"` // 1 for the first process, one more with each upgrade
	Labels     []LabelStatus  `json:"labels"`
	Consul     []ConsulStatus `json:"consul"` // empty with static masters

	// Where the master may be in one of several data centres; else they are left out.
	Datacenter       *string          `json:"datacenter,omitempty"`        // of the agents; empty: not known yet
	ActiveDatacenter *string          `json:"active_datacenter,omitempty"` // empty: nobody is active, or it is not known who
	Term             *uint64          `json:"term,omitempty"`              // of the entry that says so; 0: there is none
	Datacenters      []DatacenterInfo `json:"datacenters,omitempty"`
	Events           []Event          `json:"events"` // the last 50, the oldest first
}

// DatacenterInfo is one of several data centres of a Status.
type DatacenterInfo struct {
	Name  string `json:"name"`
	Up    bool   `json:"up"` // its entry can be read
	Error string `json:"error"`
}

// LabelStatus is one label of a Status.
type LabelStatus struct {
	Label        string        `json:"label"`
	Listen       string        `json:"listen"`
	Source       string        `json:"source"`           // of its masters: service, leader-key or static
	Leader       *LeaderInfo   `json:"leader,omitempty"` // with a leader key that has been read
	FenceReport  *ReportInfo   `json:"fence_report,omitempty"`
	Active       int           `json:"active"`
	Held         int           `json:"held"`
	Accepted     uint64        `json:"accepted_total"`
	BytesUp      uint64        `json:"bytes_up_total"`   // client to master
	BytesDown    uint64        `json:"bytes_down_total"` // master to client
	Failovers    uint64        `json:"failovers_total"`
	MastersSeen  int           `json:"masters_seen"`
	Master       *MasterInfo   `json:"master"`        // null: none
	Paused       *PauseInfo    `json:"paused"`        // by an operator; null: it is not
	LostSince    *time.Time    `json:"lost_since"`    // null: there is a master, or has never been one
	Reason       string        `json:"reason"`        // why its clients are held: why there is no master, or that none was named since a pause; empty: they are not, or no more is known
	LastFailover *FailoverInfo `json:"last_failover"` // null: never
	Failing      []FailingInfo `json:"failing"`       // without a master: who would be one if its checks passed
}

// LeaderInfo is what the leader key of a LabelStatus says.
type LeaderInfo struct {
	Key         string `json:"key"`
	Holder      string `json:"holder"` // its value: a member's name, or an address
	Locked      bool   `json:"locked"` // a session holds it
	ModifyIndex uint64 `json:"modify_index"`
	Ready       bool   `json:"ready"` // the holder is master
}

// ReportInfo is what the process has reported of a LabelStatus.
type ReportInfo struct {
	Key    string  `json:"key"`
	Obeyed uint64  `json:"obeyed"`
	Lease  float64 `json:"lease_s"`         // what is left of it; 0: there is none, and no client is connected
	Error  string  `json:"error,omitempty"` // why the report cannot be written
}

// FailingInfo is one candidate of a LabelStatus whose checks do not pass.
type FailingInfo struct {
	ServiceID string `json:"service_id"`
	Node      string `json:"node"`
	Check     string `json:"check"`
	Status    string `json:"status"`
}

// MasterInfo is the master of a LabelStatus.
type MasterInfo struct {
	Address   string    `json:"address"`
	ServiceID string    `json:"service_id"`
	Node      string    `json:"node"`
	Epoch     uint64    `json:"epoch"`
	Since     time.Time `json:"since"`
}

// FailoverInfo is the last failover of a LabelStatus.
type FailoverInfo struct {
	ID      string    `json:"id"`
	At      time.Time `json:"at"`
	From    string    `json:"from"`
	To      string    `json:"to"`
	Dropped int       `json:"dropped"`
	Fence   float64   `json:"fence_us"`
	Cut     float64   `json:"cut_ms"`
	Reason  string    `json:"reason,omitempty"` // to none: why
}

// ConsulStatus is one Consul address of a Status.
type ConsulStatus struct {
	Address     string   `json:"address"`
	OK          bool     `json:"ok"`
	LastContact *float64 `json:"last_contact_s"` // null: never
	Index       uint64   `json:"index"`
	Error       string   `json:"error"`
}
