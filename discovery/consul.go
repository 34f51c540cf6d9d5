package discovery

import (
	"context"
	"sync"

	"github.com/rs/zerolog"
)

// Consul is a Source that watches the health of a service in Consul, at one or
// several addresses in parallel. It takes the address, the token and TLS from
// the variables that Consul's own tools read.
type Consul struct {
	config  Config
	agents  []*agent
	watches []*watch // one a label
}

// NewConsul makes a source; nothing is asked before Run or Check.
//
// It fails for what no retry can mend: an address that cannot be understood, a
// TLS or token file that cannot be read, a variable with a value that it
// cannot have. The error names it. Consul being away is no such thing.
func NewConsul(c Config, log zerolog.Logger) (*Consul, error) {
	return newConsul(c, log, systemLookup)
}

func newConsul(c Config, log zerolog.Logger, lookup lookupFunc) (*Consul, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	env, err := readEnvironment()
	if err != nil {
		return nil, err
	}
	addresses := c.Addresses
	if len(addresses) == 0 {
		address, err := environmentAddress()
		if err != nil {
			return nil, err
		}
		addresses = []string{address}
	}
	log = log.With().Str("component", "discovery").Logger()
	s := &Consul{config: c}
	seen := make(map[string]bool)
	for _, address := range addresses {
		if seen[address] {
			continue // the same one twice is no second opinion
		}
		seen[address] = true
		e, err := parseEndpoint(address, env.api.Scheme == "https")
		if err != nil {
			return nil, err
		}
		s.agents = append(s.agents, newAgent(len(s.agents), e, env, lookup, newHealth(address, log)))
	}
	for i, l := range c.Labels {
		s.watches = append(s.watches, newWatch(i, l, c, s.agents, lookup, log))
	}
	return s, nil
}

// Run implements Source. It never returns an error.
func (s *Consul) Run(ctx context.Context, sink Sink) error {
	var running sync.WaitGroup
	for _, w := range s.watches {
		running.Go(func() { w.run(ctx, sink) })
		for _, a := range s.agents {
			p := newPoller(w.config, w, a)
			running.Go(func() { p.poll(ctx) })
			running.Go(func() { p.verify(ctx) })
		}
	}
	running.Wait()
	for _, a := range s.agents {
		a.client.CloseIdleConnections()
	}
	return nil
}

// VerifyNow implements Source.
func (s *Consul) VerifyNow() {
	for _, w := range s.watches {
		w.verifyAll()
	}
}

// DialFailed implements Source.
func (s *Consul) DialFailed(label string) {
	for _, w := range s.watches {
		if w.label == label {
			w.dialFailed()
			return
		}
	}
}

// Labels implements Source.
func (s *Consul) Labels() []LabelStatus {
	out := make([]LabelStatus, len(s.watches))
	for i, w := range s.watches {
		out[i] = w.snapshot()
	}
	return out
}

// Agents implements Source.
func (s *Consul) Agents() []AgentStatus {
	out := make([]AgentStatus, len(s.agents))
	for i, a := range s.agents {
		out[i] = a.health.snapshot()
	}
	return out
}
