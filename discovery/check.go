package discovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
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
	Masters []Master  // who claims to be master, the winner first; Address is not valid where its name did not resolve
	Invalid []string  // claims that cannot be followed, and why
	Failing []Failing // who would claim to be master if its checks passed
	Err     error     // nil: the answer can be trusted, an empty list of masters too. Else as AgentCheck.Err
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
	defer a.client.CloseIdleConnections()
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
	for _, w := range s.watches {
		l := s.checkLabel(ctx, a, w)
		c.Labels = append(c.Labels, l)
		if c.Err == nil && l.Err != nil {
			c.Err = fmt.Errorf("consul at %s, label %q: %w", a.endpoint.name, l.Label, l.Err)
		}
	}
	return c
}

// checkLabel asks a who is master of w's label, by a consistent read.
func (s *Consul) checkLabel(ctx context.Context, a *agent, w *watch) LabelCheck {
	l := LabelCheck{Label: w.label}
	answer := a.ask(ctx, query{service: w.config.Service, tags: w.tags, datacenter: w.config.Datacenter, consistent: true, timeout: s.config.VerifyTimeout})
	if answer.err != nil {
		l.Err = answer.err
		return l
	}
	ctx, cancel := context.WithTimeout(ctx, s.config.ResolveTimeout)
	defer cancel()
	slices.SortFunc(answer.candidates, func(x, y candidate) int { return newer(y, x) })
	for _, c := range answer.candidates {
		addr := c.addr
		if c.host != "" {
			if addrs, err := lookupAll(ctx, w.resolver.lookup, c.host); err != nil {
				answer.rejects = append(answer.rejects, c.reject(err))
			} else {
				addr = netip.AddrPortFrom(addrs[0], c.port)
			}
		}
		l.Masters = append(l.Masters, c.master(addr, answer.arrived))
	}
	for _, r := range answer.rejects {
		l.Invalid = append(l.Invalid, r.String())
	}
	l.Failing = answer.failing
	return l
}

// fetch reads the JSON at path into out. The status is 0 when there was no answer.
func (s *Consul) fetch(ctx context.Context, a *agent, path string, out any) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.config.VerifyTimeout)
	defer cancel()
	params := url.Values{}
	if s.config.Datacenter != "" {
		params.Set("dc", s.config.Datacenter)
	}
	status, _, body, err := a.get(ctx, path, params)
	if err != nil {
		return 0, err
	}
	if status != http.StatusOK {
		return status, refusal(status, body).err
	}
	if err := json.Unmarshal(body, out); err != nil {
		return status, errors.New("the answer to " + path + " is not Consul's")
	}
	return status, nil
}
