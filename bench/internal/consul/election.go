package consul

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
)

// Candidate is an instance of a service that may become master.
type Candidate struct {
	ID      string
	Address netip.AddrPort
	Of      *Label // nil: the label default of Service
}

// Label is one of the groups of a service that elect a master each.
type Label struct{ Service, Name string }

// Service is the name that candidates are registered under, where nothing else is said.
const Service = "sync"

// workers is the node that all candidates are on. No agent runs there, so
// nothing but what is written here comes and goes.
const workers = "workers"

// Register writes c into the catalog, as master or as slave, in one write,
// and returns when Consul has it.
//
// A master carries role=master for rosproxy, and the plain tag master for
// those who ask by DNS, where a name may not have the sign of equality.
func (a *Agent) Register(ctx context.Context, c Candidate, master bool) error {
	if err := a.call(ctx, http.MethodPut, "/v1/catalog/register", c.registration(master), nil); err != nil {
		return fmt.Errorf("register %s: %w", c.ID, err)
	}
	return nil
}

func (c Candidate) registration(master bool) map[string]any {
	label := Label{Service, "default"}
	if c.Of != nil {
		label = *c.Of
	}
	tags := []string{"label=" + label.Name, "role=slave"}
	if master {
		tags = []string{"label=" + label.Name, "role=master", "master"}
	}
	service := map[string]any{
		"ID": c.ID, "Service": label.Service, "Tags": tags,
		"Address": c.Address.Addr().String(), "Port": c.Address.Port(),
	}
	body := map[string]any{"Node": workers, "Address": "127.0.0.1", "SkipNodeUpdate": true, "Service": service}
	if c.Of != nil { // as an agent would write it: what answers weigh depends on it
		at := map[string]any{"Address": c.Address.Addr().String(), "Port": c.Address.Port()}
		service["TaggedAddresses"] = map[string]any{"lan_ipv4": at, "wan_ipv4": at}
		body["Checks"] = []map[string]any{{
			"Node": workers, "CheckID": "service:" + c.ID, "ServiceID": c.ID, "Status": "passing", "Type": "ttl",
			"Name": "Service '" + label.Service + "' check",
		}}
	}
	return body
}

// Forget takes all candidates out of the catalog.
func (a *Agent) Forget(ctx context.Context) error {
	if err := a.call(ctx, http.MethodPut, "/v1/catalog/deregister", map[string]any{"Node": workers}, nil); err != nil {
		return fmt.Errorf("forget the candidates: %w", err)
	}
	clear(a.filled)
	return nil
}
