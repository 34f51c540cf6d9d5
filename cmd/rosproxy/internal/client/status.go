package client

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/api"
	"github.com/rosproxy/rosproxy/drain"
)

// errForeign is an answer that is JSON and nothing else that is expected.
var errForeign = errors.New("not the answer of a rosproxy")

// state is what an instance says of itself.
type state struct {
	at     time.Time // by its own clock
	status api.Status
	drain  *api.DrainState // nil while it is serving
	labels map[string]*api.LabelStatus

	rawStatus, rawDrain json.RawMessage // with what this program does not know
}

func showStatus(ctx context.Context, s *session) int {
	answers := askAll(ctx, s, func(ctx context.Context, i *instance) (state, error) { return i.state(ctx) })
	split := disagreements(answers)
	if s.config.JSON {
		if err := s.out.document(newStatusDocument(answers, split)); err != nil {
			s.say("%v", err)
			return exitNotDone
		}
		return s.code()
	}
	printStatus(s.out, answers, split)
	return s.code()
}

// state asks for the state, and for that of the drain where there is one.
func (i *instance) state(ctx context.Context) (state, error) {
	var raw json.RawMessage
	at, err := i.ask(ctx, "GET", "/status", nil, &raw)
	if err != nil {
		return state{}, err
	}
	s, err := newState(at, raw)
	if err != nil || s.status.State == drain.Serving {
		return s, err
	}
	if _, err = i.ask(ctx, "GET", "/drain", nil, &s.rawDrain); err != nil {
		return state{}, err
	}
	if json.Unmarshal(s.rawDrain, &s.drain) != nil || s.drain == nil {
		return state{}, errForeign
	}
	return s, nil
}

// newState understands an answer of /status.
func newState(at time.Time, raw json.RawMessage) (state, error) {
	s := state{at: at, rawStatus: raw, labels: map[string]*api.LabelStatus{}}
	if json.Unmarshal(raw, &s.status) != nil || s.status.State == "" {
		return state{}, errForeign
	}
	for n := range s.status.Labels {
		l := &s.status.Labels[n]
		s.labels[l.Label] = l
	}
	return s, nil
}

// disagreement is a label that has not the same master at all instances that have it.
type disagreement struct {
	Label   string     `json:"label"`
	Masters []masterAt `json:"masters"`
}

// masterAt is the master of a label at one instance.
type masterAt struct {
	Admin  string  `json:"admin"`
	Master *string `json:"master"` // null: none
}

// disagreements are in the order in which the labels are met. Who did not answer
// is no part of it.
func disagreements(answers []answer[state]) []disagreement {
	var split []disagreement
	for _, label := range labelsOf(answers) {
		d := disagreement{Label: label}
		masters := map[string]bool{}
		for _, a := range answers {
			l := a.value.labels[label]
			if l == nil {
				continue // it has no such label, or did not answer
			}
			m := masterAt{Admin: a.from.name}
			if l.Master != nil {
				m.Master = &l.Master.Address
				masters[l.Master.Address] = true
			} else {
				masters[""] = true
			}
			d.Masters = append(d.Masters, m)
		}
		if len(masters) > 1 {
			split = append(split, d)
		}
	}
	return split
}

// labelsOf are the labels of all instances, each once.
func labelsOf(answers []answer[state]) (labels []string) {
	seen := map[string]bool{}
	for _, a := range answers {
		for _, l := range a.value.status.Labels {
			if !seen[l.Label] {
				seen[l.Label] = true
				labels = append(labels, l.Label)
			}
		}
	}
	return labels
}

// statusDocument is the answer of status --json.
type statusDocument struct {
	Instances     []instanceStatus `json:"instances"`
	Disagreements []disagreement   `json:"disagreements"`
}

// instanceStatus is one instance of a statusDocument: its answers as they were, or
// why there are none.
type instanceStatus struct {
	Admin  string          `json:"admin"`
	Error  string          `json:"error,omitempty"`
	Status json.RawMessage `json:"status,omitempty"`
	Drain  json.RawMessage `json:"drain,omitempty"` // absent while it is serving
}

func newStatusDocument(answers []answer[state], split []disagreement) statusDocument {
	d := statusDocument{Instances: []instanceStatus{}, Disagreements: split}
	if split == nil {
		d.Disagreements = []disagreement{}
	}
	for _, a := range answers {
		i := instanceStatus{Admin: a.from.name, Status: a.value.rawStatus, Drain: a.value.rawDrain}
		if a.err != nil {
			i.Error = a.err.Error()
		}
		d.Instances = append(d.Instances, i)
	}
	return d
}
