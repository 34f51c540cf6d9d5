package discovery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"
)

// maxBody is the most that is read of one answer. A thousand candidates with
// their checks are about 1 MiB.
const maxBody = 8 << 20

// maxExtra is how many consistent reads of one address, over all labels, may
// overtake others that hang. An agent takes 200 connections from one host, and
// everything on that host shares them.
const maxExtra = 32

// agent is one Consul address: a client agent, a server, or a name that stands
// for several of them. Safe for concurrent use.
type agent struct {
	id       int
	endpoint endpoint
	client   *http.Client
	dialer   *dialer
	env      environment
	params   url.Values // of every request: namespace, partition
	noNear   atomic.Bool
	health   *health
	extra    places // for consistent reads that begin while another one of their label is in flight
}

func newAgent(id int, e endpoint, env environment, lookup lookupFunc, h *health) *agent {
	d := &dialer{lookup: lookup}
	a := &agent{
		id:       id,
		endpoint: e,
		dialer:   d,
		env:      env,
		params:   make(url.Values),
		health:   h,
		extra:    make(places, maxExtra),
		client: &http.Client{
			Transport: newTransport(e, env.tls, d),
			// Consul does not redirect what is asked here, and the library
			// would carry the token to wherever it was sent.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	for name, value := range map[string]string{"ns": env.api.Namespace, "partition": env.api.Partition} {
		if value != "" {
			a.params.Set(name, value)
		}
	}
	return a
}

// query is one question about a label.
type query struct {
	service    string
	tags       []string
	datacenter string        // empty: the agent's own
	index      uint64        // not 0: a long poll for what is newer
	wait       time.Duration // of the long poll
	consistent bool          // the leader asks a quorum whether it still leads, before it answers
	timeout    time.Duration // for the whole answer
}

// params are q's as /v1/health/service takes them.
func (q query) params() url.Values {
	v := url.Values{}
	if len(q.tags) > 0 {
		v["tag"] = q.tags
	}
	if q.datacenter != "" {
		v.Set("dc", q.datacenter)
	}
	// A consistent read asks for those whose checks fail too: when there is
	// no master, they are why. A long poll that did would wake for each of them.
	if !q.consistent {
		v.Set("passing", "1")
	}
	if q.index > 0 {
		v.Set("index", strconv.FormatUint(q.index, 10))
		v.Set("wait", strconv.FormatInt(max(q.wait.Milliseconds(), 1), 10)+"ms") // 0 would mean five minutes
	}
	if q.consistent {
		v.Set("consistent", "")
	}
	return v
}

// ask puts q, and always answers: what went wrong is in the answer.
//
// A long poll says near=_agent, which Consul's streaming backend cannot serve
// (agent/rpcclient/health: useStreaming), so that the leader itself answers:
// 10 ms instead of 82 through a client agent, and no blindness while a server
// is frozen. What refuses that with 400 is asked without it.
func (a *agent) ask(ctx context.Context, q query) answer {
	began := time.Now()
	hasToken := a.env.token.get() != ""
	path, params := "/v1/health/service/"+url.PathEscape(q.service), q.params()
	near := q.index > 0 && !a.noNear.Load()
	if near {
		params.Set("near", "_agent")
	}
	ctx, cancel := context.WithTimeout(ctx, q.timeout)
	defer cancel()
	status, header, body, err := a.get(ctx, path, params)
	if err == nil && status == http.StatusBadRequest && near {
		params.Del("near")
		status, header, body, err = a.get(ctx, path, params)
		a.noNear.Store(err == nil && status == http.StatusOK)
	}
	var out answer
	if err != nil {
		a.noNear.Store(false) // who answers next may be newer
		out = failed(err)
	} else {
		out = decode(status, header, body, q.tags, hasToken)
	}
	out.agent, out.consistent, out.asked, out.began, out.arrived = a.id, q.consistent, q.index, began, time.Now()
	return out
}

// get asks for path, which is escaped, and reads the whole answer, of any
// status. It fails unless all of it has come before ctx ends, and when it is
// longer than maxBody.
func (a *agent) get(ctx context.Context, path string, params url.Values) (status int, header http.Header, body []byte, err error) {
	defer func() {
		if err != nil {
			err = a.trouble(ctx, err)
		}
	}()
	req, err := a.request(ctx, path, params)
	if err != nil {
		return 0, nil, nil, err
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close() // without reading on: what is left may be endless
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return 0, nil, nil, fmt.Errorf("read the answer: %w", err)
	}
	if len(body) > maxBody {
		return 0, nil, nil, fmt.Errorf("read the answer: it is longer than %d MiB", maxBody>>20)
	}
	return resp.StatusCode, resp.Header, body, nil
}

func (a *agent) request(ctx context.Context, path string, params url.Values) (*http.Request, error) {
	all := make(url.Values, len(params)+len(a.params))
	for _, from := range []url.Values{a.params, params} {
		for name, values := range from {
			all[name] = values
		}
	}
	u := a.endpoint.scheme + "://" + a.endpoint.host + a.endpoint.prefix + path + "?" + all.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, fmt.Errorf("make a request: %w", err)
	}
	req.Header.Set("User-Agent", "rosproxy")
	if token := a.env.token.get(); token != "" {
		req.Header.Set("X-Consul-Token", token)
	}
	if auth := a.env.api.HttpAuth; auth != nil {
		req.SetBasicAuth(auth.Username, auth.Password)
	}
	return req, nil
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
		a.client.CloseIdleConnections()
		return errNoAnswer
	}
	return err
}

// errNoAnswer says that nothing came, or not all of it.
var errNoAnswer = errors.New("no complete answer in time")
