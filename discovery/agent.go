package discovery

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/discovery/internal/consul"
	"github.com/rosproxy/rosproxy/discovery/internal/hostname"
	"github.com/rosproxy/rosproxy/discovery/internal/text"
)

// maxExtra is how many consistent reads of one address, over all questions, may
// overtake others that hang. An agent takes 200 connections from one host, and
// everything on that host shares them.
const maxExtra = 32

// agent is one Consul address, and what becomes of the questions that are put to it.
// Safe for concurrent use.
type agent struct {
	*consul.Client
	id     int
	token  func() string // the ACL token of a question
	noNear atomic.Bool
	health *health
	extra  semaphore // for consistent reads that begin while another one of their question is in flight
}

// newAgents makes one of each address; without any, of that of the environment.
func newAgents(addresses []string, lookup hostname.LookupFunc, log zerolog.Logger) ([]*agent, error) {
	clients, err := consul.NewClients(addresses, lookup)
	if err != nil {
		return nil, err
	}
	agents := make([]*agent, len(clients))
	for i, c := range clients {
		agents[i] = &agent{Client: c, id: i, token: c.Token, health: newHealth(c.Address(), log), extra: make(semaphore, maxExtra)}
	}
	return agents, nil
}

// query is one request for the answer to a question.
type query struct {
	question
	known      *memo         // of the answers to requests like this one; nil: none
	index      uint64        // not 0: a long poll for what is newer
	wait       time.Duration // of the long poll
	consistent bool          // the leader asks a quorum whether it still leads, before it answers
	indexOnly  bool          // with consistent, about a service: whether the index has changed
	timeout    time.Duration // for the whole answer
}

// ask puts q, and always answers: what went wrong is in the answer.
//
// A long poll about a service says near=_agent, which Consul's streaming backend
// cannot serve (agent/rpcclient/health: useStreaming), so that the leader itself
// answers: 10 ms instead of 82 through a client agent, and no blindness while a
// server is frozen. What refuses that with 400 is asked without it.
func (a *agent) ask(ctx context.Context, q query) answer {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, q.timeout)
	defer cancel()
	near := q.index > 0 && q.key == "" && !a.noNear.Load()
	out, err := a.put(ctx, q, near)
	if near && statusOf(err) == http.StatusBadRequest {
		out, err = a.put(ctx, q, false)
		a.noNear.Store(err == nil)
	}
	if err != nil {
		out = a.notObtained(ctx, q, err)
	}
	out.agent, out.consistent, out.asked, out.began, out.arrived = a.id, q.consistent, q.index, began, time.Now()
	return out
}

// put asks once. The error is that of Consul's client.
func (a *agent) put(ctx context.Context, q query, near bool) (answer, error) {
	token := a.token()
	o := &api.QueryOptions{Datacenter: q.datacenter, RequireConsistent: q.consistent, WaitIndex: q.index, Token: token}
	if q.index > 0 {
		o.WaitTime = max(q.wait, time.Millisecond) // 0 would mean five minutes
	}
	if near {
		o.Near = "_agent"
	}
	if q.key != "" {
		return a.getKey(ctx, q, o)
	}
	return a.getService(ctx, q, o)
}

func (a *agent) getService(ctx context.Context, q query, o *api.QueryOptions) (answer, error) {
	tags := q.tagList()
	if q.indexOnly {
		tags = append(tags, tagOfNobody)
	}
	// A consistent read asks for those whose checks fail too: when there is
	// no master, they are why. A long poll that did would wake for each of them.
	body, meta, err := a.Service(ctx, q.service, tags, !q.consistent, o)
	if err != nil {
		return answer{}, err
	}
	if q.indexOnly {
		return indexAlone(meta), nil
	}
	known := q.known
	if known == nil {
		known = new(memo)
	}
	in, err := known.parse(body, q.tagList())
	if err != nil {
		return failed(err), nil
	}
	return understood(meta, in, o.Token != ""), nil
}

// tagOfNobody is a tag that no instance has. The list with it is empty, and its
// index that of the whole service, which rises with every change of an instance or
// a check (agent/consul/state/catalog.go: maxIndexForService, tried on v1.15.4).
const tagOfNobody = "rosproxy=nobody"

func (a *agent) getKey(ctx context.Context, q query, o *api.QueryOptions) (answer, error) {
	pair, isAbsent, meta, err := a.Key(ctx, q.key, o)
	if err != nil {
		return answer{}, err
	}
	if isAbsent {
		if meta.LastIndex == 0 {
			return failed(consul.ErrNotConsuls), nil
		}
		return understoodKey(meta, nil), nil
	}
	e, err := newEntry(q.key, pair)
	if err != nil {
		return failed(err), nil
	}
	return understoodKey(meta, e), nil
}

// statusOf is that of an answer that Consul's client takes for an error; 0: there was none.
func statusOf(err error) int {
	var status api.StatusError
	if errors.As(err, &status) {
		return status.Code
	}
	return 0
}

// notObtained is the answer to q that failed with err.
func (a *agent) notObtained(ctx context.Context, q query, err error) answer {
	if statusOf(err) == 0 {
		a.noNear.Store(false) // who answers next may be newer
	}
	rights := "service:read and node:read"
	if q.key != "" {
		rights = "key:read for " + text.Quoted(q.key)
	}
	return refused(a.Explain(ctx, err, rights))
}
