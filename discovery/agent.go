package discovery

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/internal/hostname"
	"github.com/rosproxy/rosproxy/discovery/internal/text"
)

// maxExtra is how many consistent reads of one address, over all questions, may
// overtake others that hang. An agent takes 200 connections from one host, and
// everything on that host shares them.
const maxExtra = 32

// agent is one Consul address: a client agent, a server, or a name that stands
// for several of them. Safe for concurrent use.
type agent struct {
	id       int
	endpoint endpoint
	client   *api.Client
	http     *http.Client // of client
	dialer   *dialer
	token    *tokenSource
	noNear   atomic.Bool
	health   *health
	extra    places // for consistent reads that begin while another one of their question is in flight
}

func newAgent(id int, e endpoint, env environment, lookup hostname.LookupFunc, h *health) (*agent, error) {
	d := &dialer{lookup: lookup}
	a := &agent{
		id:       id,
		endpoint: e,
		dialer:   d,
		token:    env.token,
		health:   h,
		extra:    make(places, maxExtra),
		http: &http.Client{
			Transport: wholeAnswers{newTransport(e, env.tls, d)},
			// Consul does not redirect what is asked here, and the library
			// would carry the token to wherever it was sent.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	var err error
	a.client, err = api.NewClient(&api.Config{
		Address:    e.host,
		Scheme:     e.scheme,
		PathPrefix: e.prefix,
		HttpClient: a.http,
		HttpAuth:   env.api.HttpAuth,
		Namespace:  env.api.Namespace,
		Partition:  env.api.Partition,
		Token:      env.token.get(), // each request carries the one of its time
	})
	if err != nil {
		return nil, fmt.Errorf("consul address %q: %w", e.name, err)
	}
	a.client.AddHeader("User-Agent", "rosproxy")
	return a, nil
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
	token := a.token.get()
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
	x := &exchange{takesBody: true}
	tags := q.tagList()
	if q.indexOnly {
		tags = append(tags, tagOfNobody)
	}
	// A consistent read asks for those whose checks fail too: when there is
	// no master, they are why. A long poll that did would wake for each of them.
	_, meta, err := a.client.Health().ServiceMultipleTags(q.service, tags, !q.consistent, o.WithContext(x.in(ctx)))
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
	in, err := known.parse(x.body, q.tagList())
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
	x := &exchange{}
	pair, meta, err := a.client.KV().Get(q.key, o.WithContext(x.in(ctx)))
	if err != nil {
		return answer{}, err
	}
	if x.status == http.StatusNotFound {
		if meta.LastIndex == 0 {
			return failed(errNotConsuls), nil
		}
		return understoodKey(meta, nil), nil
	}
	e, err := newEntry(q.key, pair)
	if err != nil {
		return failed(err), nil
	}
	return understoodKey(meta, e), nil
}

// fetch reads the JSON at path into out. The status is 0 when there was no answer.
func (a *agent) fetch(ctx context.Context, dc, path string, out any) (status int, err error) {
	var x exchange
	o := &api.QueryOptions{Datacenter: dc, Token: a.token.get()}
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
	var status api.StatusError
	if errors.As(err, &status) {
		rights := "service:read and node:read"
		if q.key != "" {
			rights = "key:read for " + text.Quoted(q.key)
		}
		return refusal(status.Code, status.Body, rights)
	}
	a.noNear.Store(false) // who answers next may be newer
	return failed(a.trouble(ctx, err))
}

// trouble turns err into what an operator should read. After a timeout no old
// connection is used again, and a name that stands for several servers leads
// to another one.
func (a *agent) trouble(ctx context.Context, err error) error {
	var where *url.Error
	if errors.As(err, &where) {
		err = where.Err // without the URL: the address is known where this is read
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		a.dialer.rotate()
		a.http.CloseIdleConnections()
		return errNoAnswer
	}
	return err
}

// errNotConsuls says that a page was not found, and no key missed: with that Consul
// gives the index to wait for one on (agent/consul/kvs_endpoint.go: Get).
var errNotConsuls = errors.New("status 404 without an index, which is not Consul's; check the address and its path")

// errNoAnswer says that nothing came, or not all of it.
var errNoAnswer = errors.New("no complete answer in time")
