package discovery

import (
	"context"
	"sync"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/discovery/internal/consul"
	"github.com/rosproxy/rosproxy/discovery/internal/hostname"
	"github.com/rosproxy/rosproxy/discovery/internal/reporter"
)

// Consul is a Source that asks Consul, at one or several addresses in parallel:
// about the health of services, and about leader keys. It takes the address, the
// token and TLS from the variables that Consul's own tools read.
type Consul struct {
	config    Config
	agents    []*agent
	labels    []*labelWatch
	reporters map[reporterKey]*reporter.Reporter
	active    *activeWatch // nil: there is one data centre
	needs     map[question]needs
	reaches   map[string]*reach // by data centre, where there are several
	log       zerolog.Logger

	mu      sync.Mutex
	watches map[question]*watch // each with a subscriber at least
	made    int                 // watches so far
	running *sync.WaitGroup     // nil: Run has not begun, or is over
	ctx     context.Context     // of Run
}

// NewConsul makes a source; nothing is asked before Run or Check.
//
// It fails for what no retry can fix: an address that cannot be understood, a
// TLS or token file that cannot be read, a variable with a value that it
// cannot have. The error names it. Consul being away is no such thing.
func NewConsul(c Config, log zerolog.Logger) (*Consul, error) {
	return newConsul(c, log, hostname.SystemLookup)
}

func newConsul(c Config, log zerolog.Logger, lookup hostname.LookupFunc) (*Consul, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	log = log.With().Str("component", "discovery").Logger()
	s := &Consul{
		config: c, log: log, watches: make(map[question]*watch), reporters: make(map[reporterKey]*reporter.Reporter),
		needs: make(map[question]needs), reaches: make(map[string]*reach),
	}
	var err error
	if s.agents, err = newAgents(c.Addresses, lookup, log); err != nil {
		return nil, err
	}
	s.active = newActiveWatch(s)
	interests := interestsOf(c)
	for i, l := range c.Labels {
		s.note(interests[i], c.Of(l))
	}
	for i, l := range c.Labels {
		s.labels = append(s.labels, newLabelWatch(l, interests[i], s, lookup, log))
	}
	if s.active != nil {
		s.active.subscribe()
	}
	return s, nil
}

// note takes that a label with the configuration c may want to know i, before
// anything is asked.
func (s *Consul) note(i interest, c Config) {
	for _, dc := range c.possibleDatacenters() {
		q := i.in(dc).question
		s.needs[q] = s.needs[q].of(c)
	}
	for _, dc := range c.Datacenters {
		q := aboutKey(dc, c.datacenterKey())
		s.needs[q] = s.needs[q].of(c)
		if s.reaches[dc] == nil {
			s.reaches[dc] = newReach(dc, s.active.changed, s.log)
		}
	}
}

// reporterKey tells apart the entries that a process keeps.
type reporterKey struct{ datacenter, prefix string }

// reporterOf is who reports in dc for a label with the configuration c. It is
// called before Run.
func (s *Consul) reporterOf(c Config, dc string) *reporter.Reporter {
	key := reporterKey{dc, c.Reports.Prefix}
	if s.reporters[key] == nil {
		s.reporters[key] = reporter.New(*c.Reports, dc, s.clients(), s.log)
	}
	return s.reporters[key]
}

// clients are those of all addresses.
func (s *Consul) clients() []*consul.Client {
	all := make([]*consul.Client, len(s.agents))
	for i, a := range s.agents {
		all[i] = a.Client
	}
	return all
}

// setOwn takes which data centre is the agents' own: that another one cannot be
// read is no trouble of theirs.
func (s *Consul) setOwn(own string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.reaches {
		r.setOwn(own)
	}
	for _, w := range s.watches {
		if w.isRemote() {
			for _, a := range s.agents {
				a.health.forget(w.id)
			}
		}
	}
}

// Datacenters implements Source.
func (s *Consul) Datacenters() *DatacentersStatus {
	if s.active == nil {
		return nil
	}
	return s.active.status()
}

// Withdraw implements Source.
func (s *Consul) Withdraw(ctx context.Context) {
	var withdrawing sync.WaitGroup
	for _, r := range s.reporters {
		withdrawing.Go(func() { r.Withdraw(ctx) })
	}
	withdrawing.Wait()
	for _, a := range s.agents {
		a.CloseIdleConnections()
	}
}

// Run implements Source. It never returns an error.
func (s *Consul) Run(ctx context.Context, sink Sink) error {
	var running sync.WaitGroup
	s.mu.Lock()
	s.ctx, s.running = ctx, &running
	for _, w := range s.watches {
		s.start(w)
	}
	s.mu.Unlock()
	for _, r := range s.reporters {
		running.Go(func() { r.Run(ctx) })
	}
	for _, l := range s.labels {
		running.Go(func() { l.run(ctx, sink) })
	}
	if s.active != nil {
		running.Go(func() { s.active.run(ctx, sink) })
	}
	running.Wait()
	for _, a := range s.agents {
		a.CloseIdleConnections()
	}
	return nil
}

// start runs w until it is stopped, or Run ends. mu is held.
func (s *Consul) start(w *watch) {
	var ctx context.Context
	ctx, w.stop = context.WithCancel(s.ctx)
	s.running.Go(func() { w.run(ctx) })
	for _, a := range s.agents {
		p := newPoller(w, a)
		s.running.Go(func() { p.poll(ctx) })
		s.running.Go(func() { p.verify(ctx) })
	}
}

// subscribe begins to ask the question of i, unless that is being asked already.
// changed gets an element, if it has none, whenever there is something new for a
// label with the configuration c; the zero one takes no part in reports and fencing.
func (s *Consul) subscribe(i interest, c Config, changed chan struct{}) *subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.watches[i.question]
	if w == nil {
		s.made++
		w = newWatch(s.made, i.question, s.config, s.needs[i.question], s.agents, s.log)
		w.reach, w.isEntry = s.reaches[i.question.datacenter], i.question.key == s.config.datacenterKey()
		s.watches[i.question] = w
		if s.running != nil {
			s.start(w)
		}
	}
	out := &subscription{label: i.label, changed: changed, fences: c.OnOutage == Fence, reports: c.Reports != nil}
	w.join(out)
	return out
}

// unsubscribe ends s, which may be nil. A question that nobody subscribes to any
// more is asked no longer.
func (s *Consul) unsubscribe(of *subscription) {
	if of == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w := of.watch
	if !w.leave(of) {
		return
	}
	delete(s.watches, w.question)
	if w.stop != nil {
		w.stop()
	}
	for _, a := range s.agents {
		a.health.forget(w.id)
	}
}

// VerifyNow implements Source.
func (s *Consul) VerifyNow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.watches {
		w.verifyAll()
	}
}

// DialFailed implements Source.
func (s *Consul) DialFailed(label string) {
	for _, l := range s.labels {
		if l.label == label {
			l.dialFailed()
			return
		}
	}
}

// Labels implements Source.
func (s *Consul) Labels() []LabelStatus {
	out := make([]LabelStatus, len(s.labels))
	for i, l := range s.labels {
		out[i] = l.snapshot()
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
