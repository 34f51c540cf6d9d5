package consultest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxBody is the most that a request's body may hold; Consul's own limit for a key.
const maxBody = 512 << 10

// call is one request on its way through the double.
type call struct {
	ctx    context.Context
	method string
	path   string
	rest   string // what follows the route's prefix
	args   url.Values
	body   []byte
	token  string
	atOnce bool   // answer a blocking query without waiting
	asleep func() // to be called when the call begins to wait
	rights Rights
	denied []string // prefixes of the keys that the caller may not touch
}

func (c *call) has(arg string) bool { return c.args.Has(arg) }

// route is one row of the API. A pattern that ends in "/" is a prefix.
type route struct {
	method  string
	pattern string
	handle  func(*backend, *call) (*Answer, error)
}

var routes = []route{
	{"PUT", "/v1/agent/service/register", (*backend).agentRegister},
	{"PUT", "/v1/agent/service/deregister/", (*backend).agentDeregister},
	{"PUT", "/v1/agent/service/maintenance/", (*backend).agentMaintenance},
	{"GET", "/v1/agent/services", (*backend).agentServices},
	{"GET", "/v1/agent/checks", (*backend).agentChecks},
	{"PUT", "/v1/agent/check/pass/", (*backend).agentCheckPass},
	{"PUT", "/v1/agent/check/warn/", (*backend).agentCheckWarn},
	{"PUT", "/v1/agent/check/fail/", (*backend).agentCheckFail},
	{"PUT", "/v1/agent/check/update/", (*backend).agentCheckUpdate},
	{"GET", "/v1/agent/self", (*backend).agentSelf},
	{"GET", "/v1/status/leader", (*backend).statusLeader},
	{"GET", "/v1/status/peers", (*backend).statusPeers},
	{"PUT", "/v1/catalog/register", (*backend).catalogRegister},
	{"PUT", "/v1/catalog/deregister", (*backend).catalogDeregister},
	{"GET", "/v1/catalog/datacenters", (*backend).catalogDatacenters},
	{"GET", "/v1/catalog/nodes", (*backend).catalogNodes},
	{"GET", "/v1/catalog/services", (*backend).catalogServices},
	{"GET", "/v1/catalog/service/", (*backend).catalogService},
	{"GET", "/v1/health/service/", (*backend).healthService},
	{"GET", "/v1/health/checks/", (*backend).healthChecks},
	{"GET", "/v1/health/node/", (*backend).healthNode},
	{"GET", "/v1/snapshot", (*backend).snapshotSave},
	{"PUT", "/v1/snapshot", (*backend).snapshotRestore},
	{"PUT", "/v1/session/create", (*backend).sessionCreate},
	{"PUT", "/v1/session/renew/", (*backend).sessionRenew},
	{"PUT", "/v1/session/destroy/", (*backend).sessionDestroy},
	{"GET", "/v1/session/info/", (*backend).sessionInfo},
	{"GET", "/v1/session/node/", (*backend).sessionNode},
	{"GET", "/v1/session/list", (*backend).sessionList},
	{"GET", "/v1/kv/", (*backend).kvGet},
	{"PUT", "/v1/kv/", (*backend).kvPut},
	{"DELETE", "/v1/kv/", (*backend).kvDelete},
}

func (r route) matches(path string) bool {
	if strings.HasSuffix(r.pattern, "/") {
		return strings.HasPrefix(path, r.pattern)
	}
	return path == r.pattern
}

// answer serves one call. The only errors it returns are those of c.ctx: the
// client has gone, the double was closed, or a fault interrupts the wait.
func (b *backend) answer(c *call) (*Answer, error) {
	a, err := b.dispatch(c)
	if err != nil {
		if c.ctx.Err() != nil {
			return nil, context.Cause(c.ctx)
		}
		a = errorAnswer(err)
	}
	a.Header.Set("X-Consul-Default-Acl-Policy", b.acl.policy())
	return a, nil
}

func (b *backend) dispatch(c *call) (*Answer, error) {
	var allow []string
	for _, r := range routes {
		if !r.matches(c.path) {
			continue
		}
		if r.method != c.method {
			allow = append(allow, r.method)
			continue
		}
		c.rest = strings.TrimPrefix(c.path, r.pattern)
		if err := b.admit(c); err != nil {
			return nil, err
		}
		return r.handle(b, c)
	}
	if allow != nil {
		slices.Sort(allow)
		a := plain(http.StatusMethodNotAllowed, "method "+c.method+" not allowed")
		a.Header.Set("Allow", "OPTIONS,"+strings.Join(allow, ","))
		return a, nil
	}
	return nil, refuse(http.StatusNotFound, "Invalid URL path: not a recognized HTTP API endpoint\n")
}

// admit checks what every request has in common.
func (b *backend) admit(c *call) error {
	if c.has("stale") && c.has("consistent") {
		return refuse(http.StatusBadRequest, "Cannot specify ?stale with ?consistent, conflicting semantics.")
	}
	if c.has("filter") {
		return refuse(http.StatusBadRequest, "consultest: ?filter is not supported")
	}
	if dc := c.args.Get("dc"); dc != "" && dc != b.datacenter && !slices.Contains(b.mirrors, dc) {
		return saying("No path to datacenter")
	}
	var ok bool
	if c.rights, c.denied, ok = b.acl.resolve(c.token); !ok {
		return refuse(http.StatusForbidden, "ACL not found")
	}
	if c.method != http.MethodGet && c.rights != AllRights {
		return refuse(http.StatusForbidden, "Permission denied")
	}
	return nil
}

// newCall reads a request, whose body is bounded.
func newCall(w http.ResponseWriter, r *http.Request) (*call, error) {
	if r.ContentLength > maxBody {
		return nil, tooLarge(r.ContentLength)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, tooLarge(maxBody + 1)
		}
		return nil, err
	}
	args := r.URL.Query()
	token := args.Get("token")
	if t := r.Header.Get("X-Consul-Token"); t != "" {
		token = t
	} else if t, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok && token == "" {
		token = t
	}
	return &call{method: r.Method, path: r.URL.Path, args: args, body: body, token: token}, nil
}

func tooLarge(size int64) error {
	return refuse(http.StatusRequestEntityTooLarge, "Request body(%d bytes) too large, max size: %d bytes."+
		" See https://www.consul.io/docs/agent/config/config-files#kv_max_value_size.", size, maxBody)
}

// decode reads the body as JSON into v. As in Consul, an empty body is an error.
func (c *call) decode(v any, strict bool) error {
	d := json.NewDecoder(bytes.NewReader(c.body))
	if strict {
		d.DisallowUnknownFields()
	}
	if err := d.Decode(v); err != nil {
		return refuse(http.StatusBadRequest, "Request decode failed: %v", err)
	}
	return nil
}

// query answers a read that may block: with ?index= it waits as ?wait= says.
func (b *backend) query(c *call, read func(*state) reading) (*Answer, error) {
	after, wait, err := c.blocking()
	if err != nil {
		return nil, err
	}
	if c.atOnce {
		after = 0
	}
	r, err := b.store.block(c.ctx, after, wait, c.asleep, read)
	if err != nil {
		return nil, err
	}
	a := jsonAnswer(r.value)
	if raw, ok := r.value.(rawValue); ok {
		a = plain(http.StatusOK, string(raw))
		a.Header.Set("Content-Type", "text/plain")
	}
	if r.missing {
		a = &Answer{Status: http.StatusNotFound, Header: http.Header{}}
	}
	a.SetIndex(max(r.index, 1))
	a.Header.Set("X-Consul-Knownleader", "true")
	a.Header.Set("X-Consul-Lastcontact", "0")
	a.Header.Set("X-Consul-Query-Backend", "blocking-query")
	if (r.filtered || c.rights != AllRights) && c.token != "" { // nobody in particular is told nothing
		a.Header.Set("X-Consul-Results-Filtered-By-Acls", "true")
	}
	return a, nil
}

// rawValue is a value that is not wrapped in JSON.
type rawValue []byte

// blocking is what a query says of waiting.
func (c *call) blocking() (after uint64, wait time.Duration, err error) {
	if s := c.args.Get("index"); s != "" {
		if after, err = strconv.ParseUint(s, 10, 64); err != nil {
			return 0, 0, refuse(http.StatusBadRequest, "Invalid index")
		}
	}
	if s := c.args.Get("wait"); s != "" {
		if wait, err = time.ParseDuration(s); err != nil {
			return 0, 0, refuse(http.StatusBadRequest, "Invalid wait time")
		}
	}
	if wait <= 0 {
		wait = defaultWait
	}
	return after, min(wait, maxWait), nil
}

// consistency is what the catalog and health endpoints say of how they read.
func (c *call) consistency() string {
	switch {
	case c.has("stale"):
		return "stale"
	case c.has("consistent"):
		return "consistent"
	}
	return "leader"
}
