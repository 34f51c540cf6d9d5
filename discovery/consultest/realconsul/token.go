package realconsul

import (
	"fmt"

	"github.com/hashicorp/consul/api"
)

// ReadRules let a token read every service and node, and nothing else: what a proxy needs.
const ReadRules = `service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }`

// ServiceOnlyRules let a token read services but no nodes, so that Consul answers it 200 with an empty list.
const ServiceOnlyRules = `service_prefix "" { policy = "read" }`

// CreateToken makes a token with the rules given; the agent must have been started with ACL.
func (a *Agent) CreateToken(rules string) *api.ACLToken {
	a.t.Helper()
	acl := a.Impatient().ACL()
	a.tokens++
	var policy *api.ACLPolicy
	a.poll("make a policy", func() (err error) { // access control comes up after the leader
		policy, _, err = acl.PolicyCreate(&api.ACLPolicy{Name: fmt.Sprintf("test-%d", a.tokens), Rules: rules}, nil)
		return err
	})
	token, _, err := acl.TokenCreate(&api.ACLToken{Policies: []*api.ACLLink{{ID: policy.ID}}}, nil)
	if err != nil {
		a.t.Fatalf("make a token: %v", err)
	}
	return token
}

// RevokeToken deletes a token.
func (a *Agent) RevokeToken(token *api.ACLToken) {
	a.t.Helper()
	if _, err := a.Client().ACL().TokenDelete(token.AccessorID, nil); err != nil {
		a.t.Fatalf("revoke a token: %v", err)
	}
}
