package discovery

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rosproxy/rosproxy/discovery/internal/text"
)

// AgentCheck is what one look at a Consul address found.
type AgentCheck struct {
	Address string        // as the operator wrote it
	Version string        // Consul's; empty when unknown: a token without agent:read may not see it
	Leader  string        // address of the cluster's leader; empty when there is none or it is unknown
	Labels  []LabelCheck  // one a label, in the order of the configuration; none when the address gave no answer at all
	Reports []ReportCheck // one for each data centre and prefix below which labels report
	// Datacenters are those in which the master of a label may be, where there are several.
	Datacenters []DatacenterCheck
	Own         string // the agent's own data centre, where there are several; empty: OwnErr says why it is not known
	OwnErr      error
	Err         error // nil: the address answers and may be read for every label. Else what is wrong and what to do
}

// LabelCheck is what a Consul address says of one label.
type LabelCheck struct {
	Label   string
	Leader  *LeaderStatus // of a leader key; nil: the label is asked for by its service, or there was no answer
	Masters []Master      // who claims to be master, the winner first; Address is not valid where its name did not resolve
	Why     string        // with a leader key or several data centres: why there is no master
	Invalid []string      // claims that cannot be followed, and why
	Failing []Failing     // who would claim to be master if its checks passed
	Err     error         // nil: the answer can be trusted, an empty list of masters too. Else as AgentCheck.Err
}

// Check asks every address once, all of them at the same time, and answers in
// the order of Agents. It returns when all have answered or their time is up,
// which is Config.VerifyTimeout a question, or ctx has ended. It has no effect
// on a Run.
func (s *Consul) Check(ctx context.Context) []AgentCheck {
	out := make([]AgentCheck, len(s.agents))
	var asking sync.WaitGroup
	for i, a := range s.agents {
		asking.Go(func() { out[i] = s.check(ctx, a) })
	}
	asking.Wait()
	return out
}

func (s *Consul) check(ctx context.Context, a *agent) AgentCheck {
	c := AgentCheck{Address: a.Address()}
	defer a.CloseIdleConnections()
	status, err := s.fetch(ctx, a, "/v1/status/leader", &c.Leader)
	switch {
	case err != nil && status == 0:
		c.Err = fmt.Errorf("consul at %s cannot be reached: %w; check the address, that the agent runs, and TLS", a.Address(), err)
		return c
	case err != nil:
		doubtful := "the address"
		if dc := s.config.Datacenter; dc != "" {
			doubtful = fmt.Sprintf("the name of the data centre %s, that it can be reached from there, and the address", text.Quoted(dc))
		}
		c.Err = fmt.Errorf("consul at %s does not answer as Consul does: %w; check %s", a.Address(), err, doubtful)
	case c.Leader == "":
		c.Err = fmt.Errorf("consul at %s is reached but its servers have no leader; check that a majority of them runs", a.Address())
	}
	var self struct{ Config struct{ Version string } }
	if _, err := s.fetch(ctx, a, "/v1/agent/self", &self); err == nil {
		c.Version = self.Config.Version
	}
	one := inquiry{source: s, agent: a, asked: make(map[question]func() answer)}
	c.Labels = make([]LabelCheck, len(s.labels))
	var checks errgroup.Group
	checks.SetLimit(labelsAtATime)
	for i, w := range s.labels {
		checks.Go(func() error {
			c.Labels[i] = one.checkLabel(ctx, w)
			return nil
		})
	}
	_ = checks.Wait() // the errors are in the labels
	for _, l := range c.Labels {
		if c.Err == nil && l.Err != nil {
			c.Err = fmt.Errorf("consul at %s, label %q: %w", a.Address(), l.Label, l.Err)
		}
	}
	c.Reports = s.checkReports(ctx, a)
	if c.Datacenters = one.checkDatacenters(ctx); c.Datacenters != nil {
		c.Own, c.OwnErr = a.datacenter(ctx, s.config.VerifyTimeout)
	}
	return c
}

// labelsAtATime bounds what a check asks of one address.
const labelsAtATime = 16

// inquiry is one look at one address. Each question is asked once, whatever the
// number of labels. Safe for concurrent use.
type inquiry struct {
	source *Consul
	agent  *agent

	mu    sync.Mutex
	asked map[question]func() answer
}

// ask puts q by a consistent read.
func (n *inquiry) ask(ctx context.Context, q question) answer {
	n.mu.Lock()
	once := n.asked[q]
	if once == nil {
		once = sync.OnceValue(func() answer {
			return n.agent.ask(ctx, query{question: q, consistent: true, timeout: n.source.config.VerifyTimeout})
		})
		n.asked[q] = once
	}
	n.mu.Unlock()
	return once()
}

// view is what the answer to q tells; an error where it tells nothing.
func (n *inquiry) view(ctx context.Context, q question, label string) (view, error) {
	a := n.ask(ctx, q)
	if a.err != nil {
		return view{}, a.err
	}
	v, _ := view{}.after(a, label)
	if v.denied != "" {
		return view{}, errors.New(v.denied)
	}
	return v, nil
}

// checkLabel asks who is master of w's label.
func (n *inquiry) checkLabel(ctx context.Context, w *labelWatch) LabelCheck {
	l := LabelCheck{Label: w.label}
	if w.leader != nil {
		l.Err = n.checkLeader(ctx, w, &l)
		return l
	}
	i, why, err := n.interestOf(ctx, w)
	if err != nil || why != "" {
		l.Err, l.Why = err, why
		return l
	}
	v, err := n.view(ctx, i.question, i.label)
	if err != nil {
		l.Err = err
		return l
	}
	if v.claims == nil {
		return l
	}
	rejects := slices.Clone(v.claims.rejects)
	candidates := slices.Clone(v.claims.candidates)
	slices.SortFunc(candidates, func(x, y candidate) int { return newer(y, x) })
	for _, c := range candidates {
		m, err := n.lookUp(ctx, w, c, v.arrived)
		if err != nil {
			rejects = append(rejects, c.reject(err))
		}
		l.Masters = append(l.Masters, m)
	}
	for _, r := range rejects {
		l.Invalid = append(l.Invalid, r.String())
	}
	l.Failing = v.claims.failing
	return l
}

// checkLeader follows a leader key as far as one look at each thing leads.
func (n *inquiry) checkLeader(ctx context.Context, w *labelWatch, out *LabelCheck) error {
	o := newMastership(w.config)
	l := leader{key: w.leader.key, mastership: &o}
	i, why, err := n.interestOf(ctx, w)
	if err != nil || why != "" {
		out.Why = why
		return err
	}
	key, err := n.view(ctx, i.question, "")
	if err != nil {
		return err
	}
	dc := i.question.datacenter
	now := time.Now()
	var e evidence
	l.look(key, e, now)
	if e.memberKey = l.memberKey(); e.memberKey != "" {
		if e.member, err = n.view(ctx, aboutKey(dc, e.memberKey), ""); err != nil {
			return err
		}
		l.look(key, e, now)
	}
	if url, term := l.asksAPI(); url != "" {
		p := newProber()
		defer p.close()
		l.takeProbe(term, explain(p.probe(ctx, url)))
	}
	if l.asksCatalog() {
		if e.catalog, err = n.view(ctx, w.catalogQuestion(dc), ""); err != nil {
			return err
		}
	}
	if host := l.host(); host != "" {
		if addrs, err := n.lookUpAll(ctx, w, host); err == nil {
			e.hosts = map[string]netip.Addr{host: addrs[0]}
		}
	}
	l.look(key, e, now)
	out.Leader, out.Why = l.status(), o.why
	if o.winner == (candidate{}) {
		return nil
	}
	m, err := n.lookUp(ctx, w, o.winner, now)
	if err != nil {
		out.Why = fmt.Sprintf("leader %s: %v", text.Quoted(l.holder), err)
		return nil
	}
	out.Leader.Ready = true
	out.Masters = []Master{m}
	return nil
}

// lookUp makes a master of c.
func (n *inquiry) lookUp(ctx context.Context, w *labelWatch, c candidate, seen time.Time) (Master, error) {
	if c.host == "" {
		return c.master(c.addr, seen), nil
	}
	addrs, err := n.lookUpAll(ctx, w, c.host)
	if err != nil {
		return c.master(netip.AddrPort{}, seen), err
	}
	return c.master(netip.AddrPortFrom(addrs[0], c.port), seen), nil
}

func (n *inquiry) lookUpAll(ctx context.Context, w *labelWatch, host string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, n.source.config.ResolveTimeout)
	defer cancel()
	return lookupAll(ctx, w.resolver.lookup, host)
}

// fetch reads the JSON at path into out, in the time of one consistent read.
func (s *Consul) fetch(ctx context.Context, a *agent, path string, out any) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.config.VerifyTimeout)
	defer cancel()
	return a.Fetch(ctx, s.config.Datacenter, path, out)
}
