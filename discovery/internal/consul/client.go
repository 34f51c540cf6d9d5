package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/internal/hostname"
)

// Client asks one Consul address: a client agent, a server, or a name that stands
// for several of them. Safe for concurrent use.
type Client struct {
	endpoint endpoint
	api      *api.Client
	http     *http.Client // of api
	dialer   *dialer
	token    *tokenSource
}

// NewClients makes one of each address; without any, of that of the environment. It
// takes the token and TLS from there, too, and looks names of servers up by lookup.
// Nothing is asked yet.
//
// It fails for what no retry can fix, and names the address or the variable at fault.
func NewClients(addresses []string, lookup hostname.LookupFunc) (clients []*Client, err error) {
	env, err := readEnvironment()
	if err != nil {
		return nil, err
	}
	if len(addresses) == 0 {
		address, err := environmentAddress()
		if err != nil {
			return nil, err
		}
		addresses = []string{address}
	}
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
		c, err := newClient(e, env, lookup)
		if err != nil {
			return nil, err
		}
		clients = append(clients, c)
	}
	return clients, nil
}

func newClient(e endpoint, env environment, lookup hostname.LookupFunc) (*Client, error) {
	d := &dialer{lookup: lookup}
	c := &Client{
		endpoint: e,
		dialer:   d,
		token:    env.token,
		http: &http.Client{
			Transport: wholeAnswers{newTransport(e, env.tls, d)},
			// Consul does not redirect what is asked here, and the library
			// would carry the token to wherever it was sent.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	var err error
	c.api, err = api.NewClient(&api.Config{
		Address:    e.host,
		Scheme:     e.scheme,
		PathPrefix: e.prefix,
		HttpClient: c.http,
		HttpAuth:   env.api.HttpAuth,
		Namespace:  env.api.Namespace,
		Partition:  env.api.Partition,
		Token:      env.token.get(), // each request carries the one of its time
	})
	if err != nil {
		return nil, fmt.Errorf("consul address %q: %w", e.name, err)
	}
	c.api.AddHeader("User-Agent", "rosproxy")
	return c, nil
}

// Address is the client's, as the operator wrote it.
func (c *Client) Address() string { return c.endpoint.name }

// Token is the ACL token that a request is to carry now; empty: none.
func (c *Client) Token() string { return c.token.get() }

// Rotate makes the next connection go to another server, where the name of the
// address stands for several.
func (c *Client) Rotate() { c.dialer.rotate() }

// CloseIdleConnections closes those that no request uses.
func (c *Client) CloseIdleConnections() { c.http.CloseIdleConnections() }

// Service asks as o says for the instances of a service that have all tags, and
// answers them as JSON. onlyPassing leaves out those with a check that fails. The
// error is that of Consul's library: see Explain.
func (c *Client) Service(ctx context.Context, service string, tags []string, onlyPassing bool, o *api.QueryOptions) (body []byte, meta *api.QueryMeta, err error) {
	x := &exchange{takesBody: true}
	_, meta, err = c.api.Health().ServiceMultipleTags(service, tags, onlyPassing, o.WithContext(x.in(ctx)))
	return x.body, meta, err
}

// Key asks as o says for a key. isAbsent: the status was 404, which without an index is
// not Consul's. The error is that of Consul's library: see Explain.
func (c *Client) Key(ctx context.Context, key string, o *api.QueryOptions) (pair *api.KVPair, isAbsent bool, meta *api.QueryMeta, err error) {
	x := &exchange{}
	pair, meta, err = c.api.KV().Get(key, o.WithContext(x.in(ctx)))
	return pair, x.status == http.StatusNotFound, meta, err
}

// Fetch reads the JSON at path into out. The status is 0 when there was no answer.
func (c *Client) Fetch(ctx context.Context, dc, path string, out any) (status int, err error) {
	var x exchange
	o := &api.QueryOptions{Datacenter: dc, Token: c.token.get()}
	_, err = c.api.Raw().Query(path, out, o.WithContext(x.in(ctx)))
	var refused api.StatusError
	switch {
	case err == nil:
		return x.status, nil
	case errors.As(err, &refused):
		return x.status, Refusal(refused.Code, refused.Body, "agent:read")
	case x.status == 0:
		return 0, c.trouble(ctx, err)
	}
	return x.status, errors.New("the answer to " + path + " is not Consul's")
}

// trouble turns err into what an operator should read. After a timeout no old
// connection is used again, and a name that stands for several servers leads
// to another one.
func (c *Client) trouble(ctx context.Context, err error) error {
	var where *url.Error
	if errors.As(err, &where) {
		err = where.Err // without the URL: the address is known where this is read
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		c.dialer.rotate()
		c.http.CloseIdleConnections()
		return ErrNoAnswer
	}
	return err
}
