package discovery

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

// AgentCheck is what one look at a Consul address found.
type AgentCheck struct {
	Address string       // as the operator wrote it
	Version string       // Consul's; empty when unknown: a token without agent:read may not see it
	Leader  string       // address of the cluster's leader; empty when there is none or it is unknown
	Labels  []LabelCheck // one a label, in the order of the configuration; none when the address gave no answer at all
	Err     error        // nil: the address answers and may be read for every label. Else what is wrong and what to do
}

// LabelCheck is what a Consul address says of one label.
type LabelCheck struct {
	Label   string
	Leader  *LeaderStatus // of a leader key; nil: the label is asked for by its service, or there was no answer
	Masters []Master      // who claims to be master, the winner first; Address is not valid where its name did not resolve
	Why     string        // with a leader key: why there is no master
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
	c := AgentCheck{Address: a.endpoint.name}
	defer a.http.CloseIdleConnections()
	status, err := s.fetch(ctx, a, "/v1/status/leader", &c.Leader)
	switch {
	case err != nil && status == 0:
		c.Err = fmt.Errorf("consul at %s cannot be reached: %w; check the address, that the agent runs, and TLS", a.endpoint.name, err)
		return c
	case err != nil:
		c.Err = fmt.Errorf("consul at %s does not answer as Consul does: %w; check the address", a.endpoint.name, err)
	case c.Leader == "":
		c.Err = fmt.Errorf("consul at %s is reached but its servers have no leader; check that a majority of them runs", a.endpoint.name)
	}
	var self struct{ Config struct{ Version string } }
	if _, err := s.fetch(ctx, a, "/v1/agent/self", &self); err == nil {
		c.Version = self.Config.Version
	}
	for _, w := range s.labels {
		l := s.checkLabel(ctx, a, w)
		c.Labels = append(c.Labels, l)
		if c.Err == nil && l.Err != nil {
			c.Err = fmt.Errorf("consul at %s, label %q: %w", a.endpoint.name, l.Label, l.Err)
		}
	}
	return c
}

// checkLabel asks a who is master of w's label, by consistent reads.
func (s *Consul) checkLabel(ctx context.Context, a *agent, w *labelWatch) LabelCheck {
	l := LabelCheck{Label: w.label}
	if w.leader != nil {
		l.Err = s.checkLeader(ctx, a, w, &l)
		return l
	}
	i := w.main.label
	answer := s.askOnce(ctx, a, w.main.watch.question)
	if answer.err != nil {
		l.Err = answer.err
		return l
	}
	v, _ := view{}.after(answer, i)
	if v.denied != "" {
		l.Err = errors.New(v.denied)
		return l
	}
	if v.claims == nil {
		return l
	}
	rejects := slices.Clone(v.claims.rejects)
	candidates := slices.Clone(v.claims.candidates)
	slices.SortFunc(candidates, func(x, y candidate) int { return newer(y, x) })
	for _, c := range candidates {
		m, err := s.lookUp(ctx, w, c, answer.arrived)
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
func (s *Consul) checkLeader(ctx context.Context, a *agent, w *labelWatch, out *LabelCheck) error {
	o := newOffice(w.config)
	l := leader{key: w.leader.key, office: &o}
	key, err := s.viewOnce(ctx, a, w.main.watch.question)
	if err != nil {
		return err
	}
	now := time.Now()
	var e evidence
	l.look(key, e, now)
	if e.memberKey = l.memberKey(); e.memberKey != "" {
		if e.member, err = s.viewOnce(ctx, a, aboutKey(w.config.Datacenter, e.memberKey)); err != nil {
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
		if e.catalog, err = s.viewOnce(ctx, a, aboutService(w.config.Datacenter, w.config.Service, w.config.Tags)); err != nil {
			return err
		}
	}
	if host := l.host(); host != "" {
		if addrs, err := s.lookUpAll(ctx, w, host); err == nil {
			e.hosts = map[string]netip.Addr{host: addrs[0]}
		}
	}
	l.look(key, e, now)
	out.Leader, out.Why = l.status(), o.why
	if l.reject != nil {
		out.Invalid = []string{l.reject.String()}
	}
	if o.winner != (candidate{}) {
		m, err := s.lookUp(ctx, w, o.winner, now)
		if err != nil {
			out.Invalid = append(out.Invalid, o.winner.reject(err).String())
		}
		out.Masters = []Master{m}
	}
	return nil
}

// lookUp makes a master of c.
func (s *Consul) lookUp(ctx context.Context, w *labelWatch, c candidate, seen time.Time) (Master, error) {
	if c.host == "" {
		return c.master(c.addr, seen), nil
	}
	addrs, err := s.lookUpAll(ctx, w, c.host)
	if err != nil {
		return c.master(netip.AddrPort{}, seen), err
	}
	return c.master(netip.AddrPortFrom(addrs[0], c.port), seen), nil
}

func (s *Consul) lookUpAll(ctx context.Context, w *labelWatch, host string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, s.config.ResolveTimeout)
	defer cancel()
	return lookupAll(ctx, w.resolver.lookup, host)
}

// askOnce puts q by a consistent read.
func (s *Consul) askOnce(ctx context.Context, a *agent, q question) answer {
	return a.ask(ctx, query{question: q, consistent: true, timeout: s.config.VerifyTimeout})
}

// viewOnce is what a consistent read of a tells about q.
func (s *Consul) viewOnce(ctx context.Context, a *agent, q question) (view, error) {
	answer := s.askOnce(ctx, a, q)
	if answer.err != nil {
		return view{}, answer.err
	}
	v, _ := view{}.after(answer, "")
	return v, nil
}

// fetch reads the JSON at path into out. The status is 0 when there was no answer.
func (s *Consul) fetch(ctx context.Context, a *agent, path string, out any) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.config.VerifyTimeout)
	defer cancel()
	var x exchange
	o := &api.QueryOptions{Datacenter: s.config.Datacenter, Token: a.token.get()}
	_, err = a.client.Raw().Query(path, out, o.WithContext(x.in(ctx)))
	var refused api.StatusError
	switch {
	case err == nil:
		return x.status, nil
	case errors.As(err, &refused):
		return x.status, refusal(refused.Code, refused.Body, "agent:read").err
	case x.status == 0:
		return 0, a.trouble(ctx, err)
	}
	return x.status, errors.New("the answer to " + path + " is not Consul's")
}
