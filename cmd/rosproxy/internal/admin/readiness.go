package admin

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/drain"
	"github.com/rosproxy/rosproxy/proxy"
)

// Readiness is the answer of /readyz and /health.
type Readiness struct {
	Status  string            `json:"status"` // UP or DOWN
	Reasons []string          `json:"reasons,omitempty"`
	State   drain.Phase       `json:"state"`
	Labels  map[string]string `json:"labels"`        // label -> state of its master
	Why     map[string]string `json:"why,omitempty"` // label -> why it has none, for people, where that is known
}

// reasonDraining stands for every phase but serving; the other reasons are the
// states of discovery, each with its label.
const (
	reasonDraining = "draining"
	reasonFull     = "full"                    // --max-conns is reached
	stateLoop      = discovery.State("loop")   // the master is one of our own listeners
	statePaused    = discovery.State("paused") // by an operator
)

func (a *Server) serveHealth(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "UP"})
}

func (a *Server) serveReady(w http.ResponseWriter, r *http.Request) {
	var p probe
	if err := p.takeQuery(r.URL.RawQuery); err != nil {
		writeError(w, http.StatusBadRequest, err)
		return
	}
	s, err := a.readiness(p)
	if err != nil {
		writeError(w, http.StatusBadRequest, err)
		return
	}
	switch s.verdict() {
	case verdictUp:
		writeJSON(w, http.StatusOK, s)
	case verdictDraining:
		writeJSON(w, p.whileDraining, s)
	default:
		writeJSON(w, http.StatusServiceUnavailable, s)
	}
}

// verdict is what a balancer should make of a Readiness.
type verdict uint8

const (
	verdictDown     verdict = iota // no sessions
	verdictUp                      // new sessions and live ones
	verdictDraining                // live sessions alone; nothing else is wrong
	verdictFull                    // the same
	verdictPaused                  // the same: labels are paused
)

func (r Readiness) verdict() verdict {
	switch {
	case r.Status == "UP":
		return verdictUp
	case len(r.Reasons) == 1 && r.isDraining():
		return verdictDraining
	case len(r.Reasons) == 1 && r.Reasons[0] == reasonFull:
		return verdictFull
	case len(r.Reasons) > 0 && !slices.ContainsFunc(r.Reasons, isNoPause):
		return verdictPaused
	}
	return verdictDown
}

func isNoPause(reason string) bool { return !strings.HasPrefix(reason, reasonOf(statePaused, "")) }

func (r Readiness) isDraining() bool { return r.State != drain.Serving }

// readiness is UP when the process serves and every label that counts has a
// master, both in the eyes of discovery and in the data plane, or holds its
// clients for one. Its error names a label that there is not.
func (a *Server) readiness(p probe) (Readiness, error) {
	s := Readiness{Status: "UP", State: a.lifecycle.State().Phase, Labels: map[string]string{}}
	if s.isDraining() {
		s.Reasons = append(s.Reasons, reasonDraining)
	}
	data := a.data.Overview()
	if data.Full && !s.isDraining() {
		s.Reasons = append(s.Reasons, reasonFull)
	}
	known := a.found()
	states := labelStates(data, known)
	for _, label := range p.labels {
		if _, ok := states[label]; !ok {
			return Readiness{}, fmt.Errorf("label %q: unknown label", shortened(label))
		}
	}
	for _, l := range data.Labels {
		if !p.counts(l.Label) {
			continue
		}
		state := states[l.Label]
		if isPaused(l) && state != discovery.Starting {
			state = statePaused
		}
		s.Labels[l.Label] = string(state)
		if state == discovery.Found {
			continue
		}
		s.explain(l.Label, whyHeld(l, known[l.Label]))
		switch {
		case state == discovery.Standby: // its clients belong to another instance
			s.Reasons = append(s.Reasons, reasonOf(state+": "+discovery.State(known[l.Label].Why), l.Label))
		case state == statePaused && p.hold > 0, holdsClients(l, p.hold):
		default:
			s.Reasons = append(s.Reasons, reasonOf(state, l.Label))
		}
	}
	if len(s.Reasons) > 0 {
		s.Status = "DOWN"
		slices.Sort(s.Reasons)
	}
	return s, nil
}

// reasonOf is what makes a label with that state unready.
func reasonOf(state discovery.State, label string) string { return string(state) + ": " + label }

// explain notes why a label has no master.
func (r *Readiness) explain(label, why string) {
	if why == "" {
		return
	}
	if r.Why == nil {
		r.Why = map[string]string{}
	}
	r.Why[label] = why
}

// maxForeign bounds text that came from Consul, in bytes.
const maxForeign = 256

// whyNone says why a label has no master; empty when it has one, or no more is
// known than its state.
func whyNone(l proxy.LabelSnapshot, found discovery.LabelStatus) string {
	switch {
	case l.Master.Address.IsValid():
		return ""
	case l.Loop && found.State == discovery.Found:
		return "the master is one of our own listeners"
	}
	return config.Printable(found.Why, maxForeign)
}

// whyHeld says why the clients of a label are held; empty when no more is known than its state.
func whyHeld(l proxy.LabelSnapshot, found discovery.LabelStatus) string {
	if l.Unconfirmed {
		return "a pause is over, and no consistent read has named the master since"
	}
	return whyNone(l, found)
}

// isPaused reports whether new clients of l are held by a pause, or by one that was.
func isPaused(l proxy.LabelSnapshot) bool { return l.Pause != nil || l.Unconfirmed }

// holdsClients reports whether l lost its master less than hold ago. A label
// that has never had one lost none. The data plane alone knows since when: for
// a moment it still has the master that discovery says is gone, and serves.
func holdsClients(l proxy.LabelSnapshot, hold time.Duration) bool {
	if hold <= 0 {
		return false
	}
	return l.Master.Address.IsValid() || !l.LostSince.IsZero() && l.LostFor < hold
}

// found is what discovery knows, by label.
func (a *Server) found() map[string]discovery.LabelStatus {
	found := map[string]discovery.LabelStatus{}
	for _, l := range a.source.Labels() {
		found[l.Label] = l
	}
	return found
}

// labelStates is the state of every listener's label. A master that discovery
// has found but the data plane does not have yet does not count.
func labelStates(data proxy.Snapshot, found map[string]discovery.LabelStatus) map[string]discovery.State {
	states := map[string]discovery.State{}
	for _, l := range data.Labels {
		status, ok := found[l.Label]
		state := status.State
		switch {
		case !ok:
			state = discovery.Starting
		case state == discovery.Found && l.Loop:
			state = stateLoop
		case state == discovery.Found && !l.Master.Address.IsValid() && l.Epoch == 0:
			state = discovery.Starting
		case state == discovery.Found && !l.Master.Address.IsValid():
			state = discovery.None
		}
		states[l.Label] = state
	}
	return states
}

// knownPoll is how often AwaitKnown looks.
const knownPoll = 10 * time.Millisecond

// AwaitKnown returns nil when every label has had an answer: a master, or that
// there is none. It returns the cause of ctx's end.
func (a *Server) AwaitKnown(ctx context.Context) error {
	tick := time.NewTicker(knownPoll)
	defer tick.Stop()
	for !a.isKnown() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (a *Server) isKnown() bool {
	for _, state := range labelStates(a.data.Overview(), a.found()) {
		if state == discovery.Starting {
			return false
		}
	}
	return true
}
