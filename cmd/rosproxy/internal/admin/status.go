package admin

import (
	"net/http"
	"os"
	"time"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/api"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/proxy"
)

func (a *Server) serveStatus(w http.ResponseWriter, r *http.Request) {
	if _, err := parseQuery(r); err != nil {
		writeError(w, http.StatusBadRequest, err)
		return
	}
	writeJSON(w, http.StatusOK, a.status(time.Now()))
}

func (a *Server) status(now time.Time) api.Status {
	s := api.Status{
		Version:    a.build.Version,
		State:      a.lifecycle.State().Phase,
		Uptime:     seconds(now.Sub(a.started)),
		PID:        os.Getpid(),
		Generation: a.generation,
		Labels:     []api.LabelStatus{},
		Consul:     []api.ConsulStatus{},
		Events:     a.recentEvents(),
	}
	found := a.found()
	for _, l := range a.data.Snapshot().Labels {
		s.Labels = append(s.Labels, newLabelStatus(l, found[l.Label]))
	}
	if d := a.source.Datacenters(); d != nil {
		addDatacenters(&s, d)
	}
	for _, c := range a.source.Agents() {
		s.Consul = append(s.Consul, newConsulStatus(c, now))
	}
	return s
}

func addDatacenters(s *api.Status, d *discovery.DatacentersStatus) {
	s.Datacenter, s.ActiveDatacenter, s.Term = new(d.Own), new(d.Active), new(d.Term)
	for _, dc := range d.All {
		s.Datacenters = append(s.Datacenters, api.DatacenterInfo{Name: dc.Name, Up: dc.Up, Error: config.Printable(dc.Error, maxForeign)})
	}
}

func newLabelStatus(l proxy.LabelSnapshot, found discovery.LabelStatus) api.LabelStatus {
	s := api.LabelStatus{
		Label:       l.Label,
		Listen:      l.Listen,
		Active:      l.Active,
		Held:        l.Held,
		Accepted:    l.Accepted,
		BytesUp:     l.BytesUp,
		BytesDown:   l.BytesDown,
		Failovers:   l.Failovers,
		Source:      found.Source,
		MastersSeen: found.MastersSeen,
		Failing:     []api.FailingInfo{},
	}
	for _, f := range found.Failing {
		s.Failing = append(s.Failing, api.FailingInfo(f))
	}
	if k := found.Leader; k != nil {
		s.Leader = &api.LeaderInfo{Key: k.Key, Holder: config.Printable(k.Holder, maxForeign), Locked: k.Locked, ModifyIndex: k.ModifyIndex, Ready: k.Ready}
	}
	if r := found.Report; r != nil {
		s.FenceReport = &api.ReportInfo{Key: r.Key, Obeyed: r.Obeyed, Lease: seconds(r.LeaseLeft()), Error: config.Printable(r.Error, maxForeign)}
	}
	s.Reason = whyHeld(l, found)
	if s.Reason == "" && !l.Master.Address.IsValid() {
		s.Reason = reasonOfState(found.State)
	}
	if l.Master.Address.IsValid() {
		s.Master = &api.MasterInfo{
			Address:   l.Master.Address.String(),
			ServiceID: l.Master.ServiceID,
			Node:      l.Master.Node,
			Epoch:     l.Epoch,
			Since:     rfc3339(l.Since),
		}
	}
	if !l.LostSince.IsZero() {
		s.LostSince = new(rfc3339(l.LostSince))
	}
	if l.Pause != nil {
		s.Paused = &api.PauseInfo{By: l.Pause.By, Until: rfc3339(l.PauseEnds)}
	}
	if l.LastFailover != nil {
		s.LastFailover = newFailoverInfo(l.LastFailover)
	}
	return s
}

// reasonOfState is the reason of a state that says it all: the others have a field of
// their own, or are where a label begins.
func reasonOfState(state discovery.State) string {
	switch state {
	case discovery.Conflict, discovery.Unreachable, discovery.Inactive:
		return string(state)
	}
	return ""
}

func newFailoverInfo(c *proxy.Cut) *api.FailoverInfo {
	return &api.FailoverInfo{
		ID:      c.ID,
		At:      rfc3339(c.At),
		From:    c.From,
		To:      c.To,
		Dropped: c.Dropped,
		Fence:   float64(c.Fence.Nanoseconds()) / 1e3,
		Cut:     float64(c.Duration.Nanoseconds()) / 1e6,
		Reason:  c.Reason,
	}
}

func newConsulStatus(c discovery.AgentStatus, now time.Time) api.ConsulStatus {
	s := api.ConsulStatus{Address: c.Address, OK: c.OK, Index: c.Index, Error: c.Error}
	if !c.LastContact.IsZero() {
		s.LastContact = new(seconds(now.Sub(c.LastContact)))
	}
	return s
}
