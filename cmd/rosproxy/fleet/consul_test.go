package fleet_test

import (
	"net/http"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/consultest/realconsul"
)

const consulPort = "8500"

// consul is the real one, on a host of its own.
type consul struct {
	t       *testing.T
	address string
	client  *api.Client
	workers []*master
}

// startConsul starts an agent in dev mode and waits until it can be worked with.
func startConsul(t *testing.T, h *host) *consul {
	t.Helper()
	p := h.start(t, "consul", realconsul.Binary(t), "agent", "-dev", "-node", "consul", "-bind", h.ip, "-client", h.ip,
		"-log-level", "warn", "-hcl", "performance { raft_multiplier = 1 }", "-hcl", "disable_update_check = true",
		"-hcl", "ports { dns = -1, grpc = -1, grpc_tls = -1, serf_wan = -1 }")
	c := &consul{t: t, address: h.ip + ":" + consulPort}
	var err error
	c.client, err = api.NewClient(&api.Config{Address: c.address, HttpClient: &http.Client{Transport: h.web().Transport, Timeout: testTimeout}})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "Consul", func() bool {
		p.mustRun()
		checks, _, err := c.client.Health().Node("consul", &api.QueryOptions{RequireConsistent: true})
		return err == nil && len(checks) > 0 && checks.AggregatedStatus() == api.HealthPassing
	})
	return c
}

// register makes the masters known; the first is elected.
func (c *consul) register(masters ...*master) {
	c.t.Helper()
	node := &api.CatalogRegistration{Node: "workers", Address: masters[0].host.ip}
	if _, err := c.client.Catalog().Register(node, nil); err != nil {
		c.t.Fatalf("register the workers' node: %v", err)
	}
	c.workers = masters
	c.elect(masters[0])
}

// elect makes m the master, and the others slaves, in one write; nil: nobody is.
func (c *consul) elect(m *master) {
	c.t.Helper()
	var writes api.TxnOps
	for _, w := range c.workers {
		role := "role=slave"
		if w == m {
			role = "role=master"
		}
		writes = append(writes, &api.TxnOp{Service: &api.ServiceTxnOp{
			Verb: api.ServiceSet, Node: "workers",
			Service: api.AgentService{ID: w.name, Service: "sync", Tags: []string{role, "label=default"}, Address: w.host.ip, Port: workerPort},
		}})
	}
	ok, answer, _, err := c.client.Txn().Txn(writes, nil)
	if err != nil || !ok {
		c.t.Fatalf("elect a master: %v, %+v", err, answer)
	}
}
