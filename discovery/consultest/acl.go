package consultest

import "sync"

// Rights are what a token may do.
type Rights int

// The rights that the double knows.
const (
	NoRights  Rights = iota // reads of the catalog are answered 200 with an empty list, all else 403
	AllRights               // everything
)

// acls knows the tokens. Until enabled, everybody has all rights.
type acls struct {
	mu      sync.Mutex
	enabled bool
	tokens  map[string]Rights
}

func (a *acls) policy() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.enabled {
		return "deny"
	}
	return "allow"
}

// resolve tells the rights of a token; false: there is no such token.
func (a *acls) resolve(token string) (Rights, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.enabled {
		return AllRights, true
	}
	if token == "" {
		return NoRights, true
	}
	r, ok := a.tokens[token]
	return r, ok
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
