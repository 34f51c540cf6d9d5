package discovery

import (
	"context"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/time/rate"
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
		s.agents = append(s.agents, newAgent(len(s.agents), e, env, c.Datacenter, lookup, newHealth(address, log)))
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
			p := newPoller(s.config, w, a)
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

// poller asks one address about one label: one long poll at a time, since
// those that are given up live on in the agent and count against its limit
// (consul#8524), and beside it a non-blocking consistent read every now and
// then, since a long poll alone may be blind or lied to for long.
type poller struct {
	config Config
	watch  *watch
	agent  *agent
	pace   backoff
	// A service that changes all the time wakes the long poll all the time.
	// Tokens, not pauses: a first wake is never delayed.
	wakes, reads *rate.Limiter
}

func newPoller(c Config, w *watch, a *agent) *poller {
	return &poller{
		config: c,
		watch:  w,
		agent:  a,
		pace:   backoff{first: c.Backoff, most: c.BackoffMax},
		wakes:  rate.NewLimiter(20, 20),
		reads:  rate.NewLimiter(10, 10),
	}
}

// poll keeps a long poll going until ctx ends.
func (p *poller) poll(ctx context.Context) {
	index := uint64(0)
	for p.wakes.Wait(ctx) == nil {
		a, ok := p.ask(ctx, query{index: index, wait: p.config.Wait, timeout: p.config.pollTimeout()})
		if !ok {
			return
		}
		if index = nextIndex(a); index > 0 {
			p.pace.reset()
			continue
		}
		if a.err == nil && a.index > 0 {
			continue // it went backwards: at once from the beginning
		}
		if !sleep(ctx, p.pace.next()) {
			return
		}
	}
}

// nextIndex is the index to wait on after a: 0, that is not to wait but to
// read from the beginning, after any error, when there was no index, and when
// it went backwards (api-docs/features/blocking; an index from a cluster that
// was wiped would block until the wait ends).
func nextIndex(a answer) uint64 {
	if a.err != nil || a.index < a.asked {
		return 0
	}
	return a.index
}

// verify reads from time to time, and at once when the watch asks for it.
func (p *poller) verify(ctx context.Context) {
	wanted := p.watch.verify[p.agent.id]
	for {
		timer := time.NewTimer(about(p.config.VerifyEvery))
		select {
		case <-ctx.Done():
		case <-wanted:
		case <-timer.C:
		}
		timer.Stop()
		if p.reads.Wait(ctx) != nil {
			return
		}
		if _, ok := p.ask(ctx, query{consistent: true, timeout: p.config.VerifyTimeout}); !ok {
			return
		}
	}
}

// ask puts q, notes how the address fares, resolves names and hands the answer
// to the watch. It returns false when ctx has ended.
func (p *poller) ask(ctx context.Context, q query) (answer, bool) {
	q.service, q.tags = p.config.Service, p.watch.tags
	a := p.agent.ask(ctx, q)
	if ctx.Err() != nil {
		return a, false
	}
	p.agent.health.note(question{label: p.watch.id, poll: !q.consistent}, a)
	p.watch.names.resolve(ctx, &a)
	select {
	case p.watch.answers <- a:
		return a, true
	case <-ctx.Done():
		return a, false
	}
}
