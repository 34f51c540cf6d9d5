package consultest

import (
	"net/http"
	"slices"
	"strings"
	"sync"
)

// Rights are what a token may do.
type Rights int

// The rights that the double knows.
const (
	NoRights  Rights = iota // reads of lists are answered with an empty one, all else 403
	AllRights               // everything
)

// acls knows the tokens. Until enabled, everybody has all rights.
type acls struct {
	mu      sync.Mutex
	enabled bool
	tokens  map[string]Rights
	denials []*denial
}

// denial takes the keys under a prefix from the tokens named, or from all if none is.
type denial struct {
	prefix string
	tokens []string
}

func (a *acls) policy() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.enabled {
		return "deny"
	}
	return "allow"
}

// resolve tells the rights of a token, and the prefixes of the keys that it
// may not touch; false: there is no such token.
func (a *acls) resolve(token string) (Rights, []string, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := AllRights
	if a.enabled {
		known := false
		if r, known = a.tokens[token]; !known && token != "" {
			return NoRights, nil, false
		}
	}
	if r != AllRights {
		return r, []string{""}, true
	}
	var denied []string
	for _, d := range a.denials {
		if len(d.tokens) == 0 || slices.Contains(d.tokens, token) {
			denied = append(denied, d.prefix)
		}
	}
	return r, denied, true
}

// SetToken gives a token its rights. The first call turns access control on:
// the default policy is deny from then on, requests without a token have
// NoRights, and unknown tokens are answered 403.
func (s *Server) SetToken(token string, r Rights) {
	a := s.backend.acl
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.tokens == nil {
		a.tokens = map[string]Rights{}
	}
	a.enabled = true
	a.tokens[token] = r
}

// RevokeToken forgets a token: requests with it are answered 403 "ACL not found".
func (s *Server) RevokeToken(token string) {
	a := s.backend.acl
	a.mu.Lock()
	defer a.mu.Unlock()
	a.enabled = true
	delete(a.tokens, token)
}

// DenyKeys takes the keys that begin with prefix from requests with one of the
// tokens, "" being none, until undo; without tokens, from all requests. A
// single one is answered 403, whether it is there or not; lists leave them
// out. As in Consul, a long poll keeps the rights that it began with. The
// catalog and the methods of Server are not concerned.
func (s *Server) DenyKeys(prefix string, tokens ...string) (undo func()) {
	d := &denial{prefix, tokens}
	a := s.backend.acl
	a.mu.Lock()
	defer a.mu.Unlock()
	a.denials = append(a.denials, d)
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.denials = slices.DeleteFunc(a.denials, func(o *denial) bool { return o == d })
	}
}

// keyDenied reports whether the caller may not touch the key.
func (c *call) keyDenied(key string) bool {
	return slices.ContainsFunc(c.denied, func(prefix string) bool { return strings.HasPrefix(key, prefix) })
}

// treeDenied reports whether there may be keys under prefix that the caller may not touch.
func (c *call) treeDenied(prefix string) bool {
	return c.keyDenied(prefix) || slices.ContainsFunc(c.denied, func(d string) bool { return strings.HasPrefix(d, prefix) })
}

// lacks is the refusal of a request for a key.
func (c *call) lacks(permission, key string) error {
	who, hint := "token with AccessorID '00000000-0000-0000-0000-000000000000'", ""
	if c.token == "" {
		who, hint = "anonymous token", ". The anonymous token is used implicitly when a request does not specify a token."
	}
	return refuse(http.StatusForbidden, "Permission denied: %s lacks permission '%s' on %q%s", who, permission, key, hint)
}
