package consul

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
)

// Labels are the labels of a service, by the names that Fill gives them.
func Labels(service string, count int) []Label {
	all := make([]Label, count)
	for i := range all {
		all[i] = Label{Service: service, Name: fmt.Sprintf("label-%04d", i+1)}
	}
	return all
}

// Fill registers a master for each label, unless it has done so before. The
// masters need not exist: who has no client is not connected to.
func (a *Agent) Fill(ctx context.Context, labels []Label) error {
	if a.filled[labels[0].Service] {
		return nil
	}
	if err := a.addNode(ctx); err != nil {
		return err
	}
	for i, l := range labels {
		at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 250, byte(i / 250), byte(1 + i%250)}), 7800)
		if err := a.Register(ctx, Candidate{ID: l.Service + "-" + l.Name + "-a", Address: at, Of: &l}, true); err != nil {
			return err
		}
	}
	a.filled[labels[0].Service] = true
	return nil
}

// addNode registers the node of the candidates as its agent would, but for the
// name of its check: a leader removes every node that has one called serfHealth
// and no agent in the gossip (reconcileReaped in Consul's agent/consul/leader.go).
func (a *Agent) addNode(ctx context.Context) error {
	const at = "127.0.0.1"
	body := map[string]any{
		"Node": workers, "Address": at, "ID": "9d9b5a4e-6c7f-4b1c-9f6e-0d5f3c2b1a00",
		"TaggedAddresses": map[string]string{"lan": at, "lan_ipv4": at, "wan": at, "wan_ipv4": at},
		"NodeMeta":        map[string]string{"consul-network-segment": "", "consul-version": "1.15.4"},
		"Checks": []map[string]any{{
			"Node": workers, "CheckID": "nodeHealth", "Status": "passing",
			"Name": "Serf Health Status", "Output": "Agent alive and reachable",
		}},
	}
	if err := a.call(ctx, http.MethodPut, "/v1/catalog/register", body, nil); err != nil {
		return fmt.Errorf("register the node of the candidates: %w", err)
	}
	return nil
}
