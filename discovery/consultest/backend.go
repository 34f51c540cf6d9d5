package consultest

import (
	"net/http"
	"time"
)

// backend is the double without its sockets: the state of a cluster and the one agent that serves it.
type backend struct {
	store *store
	agent *agent
	ttls  *ttls
	acl   *acls
	saved *snapshots

	node          string
	datacenter    string
	mirrors       []string
	streaming     bool
	sessionTTLMin time.Duration
	guest         bool // of another's cluster, which outlives it
}

func newBackend(c Config) *backend {
	b := &backend{
		ttls: &ttls{}, acl: &acls{}, saved: &snapshots{},
		node: c.Node, datacenter: c.Datacenter, mirrors: c.Mirrors, streaming: c.Streaming, sessionTTLMin: c.SessionTTLMin,
	}
	b.store = newStore(b.freshState())
	b.agent = newAgent(c.Node, b.store)
	return b
}

// freshState is a catalog with nothing in it but the agent's own living node.
func (b *backend) freshState() *state {
	st := newState()
	st.index = 10
	b.addNode(st, st.index)
	return st
}

// addNode adds the agent's own node, alive.
func (b *backend) addNode(st *state, idx uint64) {
	st.setNode(nodeRow{
		ID: newUUID(), Node: b.node, Address: "127.0.0.1", Datacenter: b.datacenter,
		TaggedAddresses: map[string]string{"lan": "127.0.0.1", "wan": "127.0.0.1"},
	}, idx)
	st.setCheck(checkRow{ // the node is there, so this cannot fail
		Node: b.node, CheckID: serfHealth, Name: "Serf Health Status", Status: Passing, Output: "Agent alive and reachable",
	}, idx)
}

// wipe empties everything, as the restart of a dev agent does.
func (b *backend) wipe() {
	b.agent.stop()
	b.ttls.stop(false)
	b.store.replace(func(*state) *state { return b.freshState() })
}

// frozen is a backend that serves the state of this moment for ever.
func (b *backend) frozen() *backend {
	f := *b
	b.store.view(func(st *state) { f.store = newStore(st.clone()) })
	return &f
}

func (b *backend) close() {
	b.agent.stop()
	if !b.guest {
		b.ttls.stop(true)
	}
}

func (b *backend) agentSelf(*call) (*Answer, error) {
	type object = map[string]any
	return jsonAnswer(object{
		"Config": object{
			"Datacenter": b.datacenter, "PrimaryDatacenter": b.datacenter, "NodeName": b.node, "NodeID": "",
			"Revision": "", "Server": true, "Version": version,
		},
		"DebugConfig": object{"UseStreamingBackend": b.streaming},
		"Member":      object{"Name": b.node, "Addr": "127.0.0.1", "Port": 8301, "Status": 1, "Tags": object{"role": "consul", "dc": b.datacenter}},
		"Meta":        object{},
	}), nil
}

// version is the release whose behaviour the double follows.
const version = "1.15.4"

func (b *backend) statusLeader(*call) (*Answer, error) { return jsonAnswer("127.0.0.1:8300"), nil }

func (b *backend) statusPeers(*call) (*Answer, error) {
	return jsonAnswer([]string{"127.0.0.1:8300"}), nil
}

func unknownService(id string) error {
	return refuse(http.StatusNotFound, "Unknown service ID %q. Ensure that the service ID is passed, not the service name.", id)
}

func unknownCheck(id string) error {
	return refuse(http.StatusNotFound, "Unknown check ID %q. Ensure that the check ID is passed, not the check name.", id)
}
