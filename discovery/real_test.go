package discovery

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/consultest/realconsul"
)

// realQuick is quick, with deadlines that a real Consul on a busy machine keeps.
func realQuick(addresses ...string) Config {
	c := quick(addresses...)
	c.VerifyEvery, c.VerifyTimeout, c.RegressAfter = 200*time.Millisecond, 3*time.Second, 30*time.Second
	return c
}

// register puts worker n into the catalog, as a node of its own, with a role.
func register(t *testing.T, a *realconsul.Agent, n int, role string) {
	t.Helper()
	retry(t, "register a worker", func() error {
		_, err := a.Client().Catalog().Register(worker(n, role), nil)
		return err
	})
}

func worker(n int, role string) *api.CatalogRegistration {
	return &api.CatalogRegistration{
		Node: fmt.Sprintf("worker-%d", n), Address: "127.0.0.1",
		Service: &api.AgentService{ID: fmt.Sprintf("sync-%d", n), Service: "sync", Port: 7800 + n, Tags: []string{"role=" + role, "label=default"}},
	}
}

// retry tries until it works: a cluster between two leaders refuses writes.
func retry(t *testing.T, what string, try func() error) {
	t.Helper()
	var err error
	deadline := time.Now().Add(testTimeout)
	for {
		if err = try(); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// transaction changes the roles of workers 1 and 2 in one transaction.
func transaction(t *testing.T, a *realconsul.Agent, role1, role2 string) {
	t.Helper()
	var ops api.TxnOps
	for n, role := range map[int]string{1: role1, 2: role2} {
		w := worker(n, role)
		ops = append(ops, &api.TxnOp{Service: &api.ServiceTxnOp{Verb: api.ServiceSet, Node: w.Node, Service: *w.Service}})
	}
	if ok, resp, _, err := a.Client().Txn().Txn(ops, nil); err != nil || !ok {
		t.Fatalf("change two roles: %v, %v", resp, err)
	}
}

// ends waits until worker n is master, and checks that nobody else than the
// two workers of an election was named since call number from, and that no
// live connection would have been cut but by a new master.
func ends(r *running, from, n int) {
	r.t.Helper()
	want := fmt.Sprintf("127.0.0.1:%d", 7800+n)
	await(r.t, want+" as master", func() bool {
		calls := r.list()
		return len(calls) > from && calls[len(calls)-1] == "default set "+want
	})
	r.state(Found, 1)
	for _, c := range r.list()[from:] {
		if c != set1 && c != set2 && c != "default clear" {
			r.t.Errorf("got call %q in a failover", c)
		}
	}
}

func TestRealConsulFlips(t *testing.T) {
	for name, opts := range map[string][]realconsul.Option{"streaming": nil, "no streaming": {realconsul.NoStreaming()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := realconsul.StartDev(t, opts...)
			register(t, a, 1, "master")
			register(t, a, 2, "slave")
			r := start(t, realQuick(a.Addr))
			ends(r, 0, 1)
			for range 3 {
				from := len(r.list())
				register(t, a, 1, "slave") // the old one first
				register(t, a, 2, "master")
				ends(r, from, 2)

				from = len(r.list())
				register(t, a, 1, "master") // the new one first
				register(t, a, 2, "slave")
				ends(r, from, 1)

				from = len(r.list())
				transaction(t, a, "slave", "master")
				ends(r, from, 2)
				from = len(r.list())
				transaction(t, a, "master", "slave")
				ends(r, from, 1)
			}
		})
	}
}

func TestRealConsulTwoMasters(t *testing.T) {
	t.Parallel()
	a := realconsul.StartDev(t)
	register(t, a, 1, "master")
	r := start(t, realQuick(a.Addr))
	ends(r, 0, 1)
	register(t, a, 2, "master")
	r.state(Found, 2)
	r.calls(set1, set2)
	register(t, a, 1, "slave")
	r.state(Found, 1)
	r.calls(set1, set2)
}

func TestRealDevAgentRestartedWithAnEmptyCatalog(t *testing.T) {
	t.Parallel()
	a := realconsul.StartDev(t)
	register(t, a, 1, "master")
	for n := range 20 { // an index to fall from
		register(t, a, 3, fmt.Sprint("spare", n))
	}
	r := start(t, realQuick(a.Addr))
	r.calls(set1)
	a.Kill()
	await(t, "errors", func() bool { return r.agent(0).Errors > 5 })
	r.state(Found, 1)
	r.calls(set1)
	a.Start()
	r.calls(set1, "default clear")
	r.state(None, 0)
	register(t, a, 1, "master")
	r.calls(set1, "default clear", set1)
	register(t, a, 1, "slave")
	register(t, a, 2, "master")
	ends(r, 3, 2)
}

func TestRealConsulTokenRevokedAndRestored(t *testing.T) {
	t.Parallel()
	a := realconsul.StartDev(t, realconsul.ACL())
	register(t, a, 1, "master")
	reader, half := a.CreateToken(realconsul.ReadRules), a.CreateToken(realconsul.ServiceOnlyRules)
	var token atomic.Value
	token.Store(reader.SecretID)
	r := start(t, realQuick(a.Addr), func(c *Consul, _ *recorder) { c.agents[0].token = func() string { return token.Load().(string) } })
	r.calls(set1)
	denied := func(why string) {
		t.Helper()
		before := r.agent(0).Errors
		await(t, "access denied to "+why, func() bool {
			s := r.agent(0)
			return s.Errors >= before+5 && len(s.Error) > 6 && s.Error[:6] == "denied"
		})
		r.state(Found, 1)
		r.calls(set1)
	}
	a.RevokeToken(reader)
	denied("a revoked token")
	token.Store(half.SecretID)
	denied("a token without node:read, which is answered 200 and an empty list")
	token.Store("")
	denied("nobody")
	token.Store(a.CreateToken(realconsul.ReadRules).SecretID)
	await(t, "recovery", func() bool { return r.agent(0).OK })
	r.heard(0)
	r.calls(set1)
	register(t, a, 1, "slave")
	register(t, a, 2, "master")
	ends(r, 1, 2)
}

func TestRealClusterLosesAgentsAndItsLeader(t *testing.T) {
	t.Parallel()
	cl := realconsul.StartCluster(t, 3)
	register(t, cl.Client, 1, "master")
	register(t, cl.Client, 2, "slave")
	r := start(t, realQuick(cl.Client.Addr, cl.Servers[0].Addr, cl.Servers[1].Addr, cl.Servers[2].Addr))
	ends(r, 0, 1)
	r.heard(0, 1, 2, 3)

	// An agent that is frozen neither delays a failover nor rolls one back.
	cl.Client.Freeze()
	leader := cl.Servers[cl.Leader()]
	from := len(r.list())
	register(t, leader, 1, "slave")
	register(t, leader, 2, "master")
	ends(r, from, 2)
	cl.Client.Thaw()
	await(t, "the agent's return", func() bool { return r.agent(0).OK })
	r.heard(0)
	if calls := r.list(); calls[len(calls)-1] != set2 {
		t.Errorf("got calls %q; want nothing after sync-2", calls)
	}

	// An election of Consul's own is no news.
	from = len(r.list())
	killed := cl.KillLeader()
	cl.Leader()
	await(t, "errors of the dead server", func() bool { return r.agent(killed+1).Errors > 0 })
	r.heard(0)
	r.calls(r.list()[:from]...)

	register(t, cl.Client, 2, "slave")
	register(t, cl.Client, 1, "master")
	ends(r, from, 1)
}

// TestRealLeaderThatIsFrozenHoldsUpNoFailover: what was asked of it hangs, and
// what is asked after the servers have elected another is answered at once.
func TestRealLeaderThatIsFrozenHoldsUpNoFailover(t *testing.T) {
	t.Parallel()
	cl := realconsul.StartCluster(t, 3)
	register(t, cl.Client, 1, "master")
	register(t, cl.Client, 2, "slave")
	frozen := cl.Leader()
	follower := cl.Servers[(frozen+1)%3]
	c := realQuick(follower.Addr)
	// Whoever waits for what hangs waits longer than this test.
	c.Wait, c.VerifyEvery, c.VerifyTimeout = 10*time.Minute, 5*time.Second, 4*testTimeout
	r := start(t, c)
	r.calls(set1)
	await(t, "a long poll", func() bool { return r.agent(0).OK })

	cl.Servers[frozen].Freeze()
	retry(t, "another leader, and a failover", func() error {
		_, err := follower.Impatient().Catalog().Register(worker(2, "master"), nil)
		return err
	})
	retry(t, "the old master's role", func() error {
		_, err := follower.Impatient().Catalog().Register(worker(1, "slave"), nil)
		return err
	})
	ends(r, 1, 2)
}
