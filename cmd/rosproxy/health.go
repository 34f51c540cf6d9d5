package main

import (
	"net/http"
	"slices"

	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/drain"
)

// readiness is the answer of /readyz and /health.
type readiness struct {
	Status  string            `json:"status"` // UP or DOWN
	Reasons []string          `json:"reasons,omitempty"`
	State   drain.Phase       `json:"state"`
	Labels  map[string]string `json:"labels"` // label -> state of its master
}

// reasonDraining stands for every phase but serving; the other reasons are the
// states of discovery.
const reasonDraining = "draining"

func (a *admin) serveHealth(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "UP"})
}

// serveReady ignores the query: balancers add what they like to a probe.
func (a *admin) serveReady(w http.ResponseWriter, r *http.Request) {
	s := a.readiness()
	code := http.StatusOK
	if s.Status != "UP" {
		code = http.StatusServiceUnavailable
	}
	writeJSON(w, code, s)
}

// readiness is UP when the process serves and every label has a master, both
// in the eyes of discovery and in the data plane.
func (a *admin) readiness() readiness {
	s := readiness{Status: "UP", State: a.machine.State().Phase, Labels: map[string]string{}}
	if s.State != drain.Serving {
		s.Reasons = append(s.Reasons, reasonDraining)
	}
	for label, state := range a.labelStates() {
		s.Labels[label] = string(state)
		if state != discovery.Found && !slices.Contains(s.Reasons, string(state)) {
			s.Reasons = append(s.Reasons, string(state))
		}
	}
	if len(s.Reasons) > 0 {
		s.Status = "DOWN"
		slices.Sort(s.Reasons)
	}
	return s
}

// labelStates is the state of every listener's label. A master that discovery
// has found but the data plane does not have yet does not count.
func (a *admin) labelStates() map[string]discovery.State {
	found := map[string]discovery.State{}
	for _, l := range a.source.Labels() {
		found[l.Label] = l.State
	}
	states := map[string]discovery.State{}
	for _, l := range a.data.Snapshot().Labels {
		state, ok := found[l.Label]
		switch {
		case !ok:
			state = discovery.Starting
		case state == discovery.Found && !l.Master.Address.IsValid() && l.Epoch == 0:
			state = discovery.Starting
		case state == discovery.Found && !l.Master.Address.IsValid():
			state = discovery.None
		}
		states[l.Label] = state
	}
	return states
}
