package main

import (
	"net/http"
	"os"
	"time"

	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/drain"
	"github.com/rosproxy/rosproxy/proxy"
)

// status is the answer of /status; its names are the contract's.
type status struct {
	Version string        `json:"version"`
	State   drain.Phase   `json:"state"`
	Uptime  float64       `json:"uptime_s"`
	PID     int           `json:"pid"`
	Number  int           `json:"generation"` // 1 for the first process, one more with each upgrade
	Labels  []labelStatus `json:"labels"`
	Consul  []agentStatus `json:"consul"` // empty with static masters
}

type labelStatus struct {
	Label        string        `json:"label"`
	Listen       string        `json:"listen"`
	Active       int           `json:"active"`
	Held         int           `json:"held"`
	Accepted     uint64        `json:"accepted_total"`
	Failovers    uint64        `json:"failovers_total"`
	MastersSeen  int           `json:"masters_seen"`
	Master       *masterInfo   `json:"master"`        // null: none
	LastFailover *failoverInfo `json:"last_failover"` // null: never
}

type masterInfo struct {
	Address   string    `json:"address"`
	ServiceID string    `json:"service_id"`
	Node      string    `json:"node"`
	Epoch     uint64    `json:"epoch"`
	Since     time.Time `json:"since"`
}

type failoverInfo struct {
	ID      string    `json:"id"`
	At      time.Time `json:"at"`
	From    string    `json:"from"`
	To      string    `json:"to"`
	Dropped int       `json:"dropped"`
	Fence   float64   `json:"fence_us"`
	Cut     float64   `json:"cut_ms"`
}

type agentStatus struct {
	Address     string   `json:"address"`
	OK          bool     `json:"ok"`
	LastContact *float64 `json:"last_contact_s"` // null: never
	Index       uint64   `json:"index"`
	Error       string   `json:"error"`
}

func (a *admin) serveStatus(w http.ResponseWriter, r *http.Request) {
	if _, err := parseQuery(r); err != nil {
		writeError(w, http.StatusBadRequest, err)
		return
	}
	writeJSON(w, http.StatusOK, a.status(time.Now()))
}

func (a *admin) status(now time.Time) status {
	s := status{
		Version: a.build.Version,
		State:   a.machine.State().Phase,
		Uptime:  seconds(now.Sub(a.begun)),
		PID:     os.Getpid(),
		Number:  a.number,
		Labels:  []labelStatus{},
		Consul:  []agentStatus{},
	}
	seen := mastersSeen(a.source.Labels())
	for _, l := range a.data.Snapshot().Labels {
		s.Labels = append(s.Labels, newLabelStatus(l, seen[l.Label]))
	}
	for _, c := range a.source.Agents() {
		s.Consul = append(s.Consul, newAgentStatus(c, now))
	}
	return s
}

func newLabelStatus(l proxy.LabelSnapshot, seen int) labelStatus {
	s := labelStatus{
		Label:       l.Label,
		Listen:      l.Listen,
		Active:      l.Active,
		Held:        l.Held,
		Accepted:    l.Accepted,
		Failovers:   l.Failovers,
		MastersSeen: seen,
	}
	if l.Master.Address.IsValid() {
		s.Master = &masterInfo{
			Address:   l.Master.Address.String(),
			ServiceID: l.Master.ServiceID,
			Node:      l.Master.Node,
			Epoch:     l.Epoch,
			Since:     rfc3339(l.Since),
		}
	}
	if c := l.LastFailover; c != nil {
		s.LastFailover = &failoverInfo{
			ID:      c.ID,
			At:      rfc3339(c.At),
			From:    c.From,
			To:      c.To,
			Dropped: c.Dropped,
			Fence:   float64(c.Fence.Nanoseconds()) / 1e3,
			Cut:     float64(c.Duration.Nanoseconds()) / 1e6,
		}
	}
	return s
}

func newAgentStatus(c discovery.AgentStatus, now time.Time) agentStatus {
	s := agentStatus{Address: c.Address, OK: c.OK, Index: c.Index, Error: c.Error}
	if !c.LastContact.IsZero() {
		s.LastContact = new(seconds(now.Sub(c.LastContact)))
	}
	return s
}

func mastersSeen(labels []discovery.LabelStatus) map[string]int {
	seen := map[string]int{}
	for _, l := range labels {
		seen[l.Label] = l.MastersSeen
	}
	return seen
}

// seconds is d to the millisecond.
func seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1e3 }

// rfc3339 gives t the precision and zone in which it is shown.
func rfc3339(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
