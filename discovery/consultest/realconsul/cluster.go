package realconsul

import (
	"fmt"
	"testing"
)

// Cluster is a number of Consul servers and one client agent of theirs.
type Cluster struct {
	Servers []*Agent
	Client  *Agent // no server: it forwards, streams and caches, as agents beside a proxy do

	t    testing.TB
	join []string // gossip addresses of the servers
}

// StartCluster starts n servers and a client agent, and waits until there is
// a leader that knows them all.
func StartCluster(t testing.TB, n int, opts ...Option) *Cluster {
	t.Helper()
	cl := &Cluster{t: t}
	configs := make([]map[string]any, n+1)
	for i := range configs {
		configs[i] = map[string]any{"data_dir": t.TempDir(), "retry_interval": "1s"}
	}
	for i := range n {
		configs[i]["server"], configs[i]["bootstrap_expect"] = true, n
		cl.Servers = append(cl.Servers, newAgent(t, fmt.Sprintf("server-%d", i), configs[i], opts))
		cl.join = append(cl.join, cl.Servers[i].serf)
	}
	cl.Client = newAgent(t, "client", configs[n], opts)
	for _, a := range cl.all() {
		cl.launch(a)
	}
	for _, a := range cl.all() {
		a.awaitReady()
	}
	return cl
}

// launch starts an agent that joins the servers.
func (cl *Cluster) launch(a *Agent) {
	cl.t.Helper()
	for _, addr := range cl.join {
		if addr != a.serf {
			a.args = append(a.args, "-retry-join", addr)
		}
	}
	a.launch()
}

// StartClient starts one more client agent, for a proxy to have one of its own.
func (cl *Cluster) StartClient(node string, opts ...Option) *Agent {
	cl.t.Helper()
	a := newAgent(cl.t, node, map[string]any{"data_dir": cl.t.TempDir(), "retry_interval": "1s"}, opts)
	cl.launch(a)
	a.awaitReady()
	return a
}

func (cl *Cluster) all() []*Agent { return append(append([]*Agent{}, cl.Servers...), cl.Client) }

// Leader waits until a server that is up calls itself the leader, and returns its index.
func (cl *Cluster) Leader() int {
	cl.t.Helper()
	leader := -1
	cl.Client.poll("see a leader", func() error {
		for i, s := range cl.Servers {
			if s.process == nil {
				continue
			}
			// Each server is asked what it is itself: one that has just lost its leader still names it.
			self, err := s.Impatient().Agent().Self()
			if err != nil {
				continue
			}
			if raft := self["Stats"]["raft"]; stateOf(raft) == "Leader" {
				leader = i
				return nil
			}
		}
		return fmt.Errorf("no server is the leader")
	})
	return leader
}

func stateOf(raft any) string {
	m, _ := raft.(map[string]any)
	state, _ := m["state"].(string)
	return state
}

// KillLeader kills the leader like a crash and returns its index. The servers left elect another in a second or two.
func (cl *Cluster) KillLeader() int {
	cl.t.Helper()
	i := cl.Leader()
	cl.Servers[i].Kill()
	return i
}
