package discovery

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// Mixed is a Source of labels of which some have a static master, and the others
// ask Consul.
type Mixed struct {
	static *Static
	consul *Consul
	labels []string // in the order of the configuration
}

// Mix makes one source of the two, which have no label in common and are to be
// run by it alone. labels are those of both, in the order of the configuration.
func Mix(static *Static, consul *Consul, labels []Label) *Mixed {
	m := &Mixed{static: static, consul: consul}
	for _, l := range labels {
		m.labels = append(m.labels, l.Name)
	}
	return m
}

// Run implements Source. It never returns an error.
func (m *Mixed) Run(ctx context.Context, sink Sink) error {
	running, ctx := errgroup.WithContext(ctx)
	running.Go(func() error { return m.static.Run(ctx, sink) })
	running.Go(func() error { return m.consul.Run(ctx, sink) })
	return running.Wait()
}

// VerifyNow implements Source.
func (m *Mixed) VerifyNow() { m.consul.VerifyNow() }

// Withdraw implements Source.
func (m *Mixed) Withdraw(ctx context.Context) { m.consul.Withdraw(ctx) }

// DialFailed implements Source: whichever has the label takes the hint.
func (m *Mixed) DialFailed(label string) {
	m.static.DialFailed(label)
	m.consul.DialFailed(label)
}

// Labels implements Source.
func (m *Mixed) Labels() []LabelStatus {
	known := make(map[string]LabelStatus, len(m.labels))
	for _, s := range append(m.static.Labels(), m.consul.Labels()...) {
		known[s.Label] = s
	}
	out := make([]LabelStatus, len(m.labels))
	for i, name := range m.labels {
		out[i] = known[name]
	}
	return out
}

// Agents implements Source.
func (m *Mixed) Agents() []AgentStatus { return m.consul.Agents() }

// Check asks every Consul address once, about the labels that ask Consul.
func (m *Mixed) Check(ctx context.Context) []AgentCheck { return m.consul.Check(ctx) }

// Datacenters implements Source.
func (m *Mixed) Datacenters() *DatacentersStatus { return m.consul.Datacenters() }
