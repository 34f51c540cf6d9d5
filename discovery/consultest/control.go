package consultest

import (
	"cmp"
	"fmt"
	"slices"
)

// Service is one instance of a service, as a test puts it into the catalog.
type Service struct {
	ID      string // empty: Name
	Name    string
	Node    string // empty: the agent's own; another is added where it is not there yet
	Address string // empty: clients take the node's, 127.0.0.1 unless NodeAddress says otherwise
	Port    int
	Tags    []string
	Meta    map[string]string

	NodeAddress string // of a Node that is added; empty: 127.0.0.1
	Status      string // of the check "service:ID"; empty: passing
}

// Tx is a number of changes under one index, so that no query sees some of
// them only. Its methods panic where a test makes a mistake: a service that is
// not there, or that several nodes have while none is named.
type Tx struct {
	st   *state
	idx  uint64
	own  string
	dc   string
	node string // "": wherever the service is
}

// Txn makes the changes of fn under one index and returns it. A fn that
// panics leaves the changes it had made.
func (s *Server) Txn(fn func(*Tx)) uint64 {
	var at uint64
	s.backend.store.update(func(st *state, idx uint64) error {
		at = idx
		fn(&Tx{st: st, idx: idx, own: s.backend.node, dc: s.backend.datacenter})
		return nil
	})
	return at
}

// On is the same transaction, for the instances of one node.
func (t *Tx) On(node string) *Tx {
	on := *t
	on.node = node
	return &on
}

// Register adds or changes instances.
func (t *Tx) Register(services ...Service) {
	for _, s := range services {
		node := cmp.Or(s.Node, t.node, t.own)
		if _, ok := t.st.nodes[node]; !ok {
			t.st.setNode(nodeRow{Node: node, Address: cmp.Or(s.NodeAddress, "127.0.0.1"), Datacenter: t.dc}, t.idx)
			t.check(t.st.setCheck(checkRow{Node: node, CheckID: serfHealth, Name: "Serf Health Status", Status: Passing}, t.idx))
		}
		id := cmp.Or(s.ID, s.Name)
		t.st.setService(node, serviceRow{
			ID: id, Service: s.Name, Tags: slices.Clone(s.Tags), Address: s.Address, Meta: s.Meta, Port: s.Port,
		}, t.idx)
		t.setCheck(serviceKey{node, id}, cmp.Or(s.Status, Passing), "")
	}
}

// Deregister removes an instance.
func (t *Tx) Deregister(id string) {
	key := t.find(id)
	t.st.dropService(key.node, key.id, t.idx)
}

// SetTags replaces the tags of an instance.
func (t *Tx) SetTags(id string, tags ...string) {
	t.edit(id, func(s *serviceRow) { s.Tags = slices.Clone(tags) })
}

// SetAddress replaces address and port of an instance.
func (t *Tx) SetAddress(id, address string, port int) {
	t.edit(id, func(s *serviceRow) { s.Address, s.Port = address, port })
}

// SetMeta replaces the metadata of an instance.
func (t *Tx) SetMeta(id string, meta map[string]string) {
	t.edit(id, func(s *serviceRow) { s.Meta = meta })
}

// SetCheck sets state and output of the check "service:ID" of an instance.
func (t *Tx) SetCheck(id, status, output string) { t.setCheck(t.find(id), status, output) }

// SetNodeCheck sets a check of a node as a whole; "serfHealth" is the one that
// reports whether the node lives. An empty node is the agent's own.
func (t *Tx) SetNodeCheck(node, id, status string) {
	node = cmp.Or(node, t.own)
	c := t.st.checks[checkKey{node, id}]
	c.Node, c.CheckID, c.Name, c.Status = node, id, cmp.Or(c.Name, id), status
	t.check(t.st.setCheck(c, t.idx))
}

func (t *Tx) setCheck(key serviceKey, status, output string) {
	id := "service:" + key.id
	c := t.st.checks[checkKey{key.node, id}]
	c.Node, c.CheckID, c.ServiceID, c.Name = key.node, id, key.id, cmp.Or(c.Name, "Service check")
	c.Status, c.Output = status, output
	t.check(t.st.setCheck(c, t.idx))
}

func (t *Tx) edit(id string, change func(*serviceRow)) {
	key := t.find(id)
	s := t.st.services[key]
	change(&s)
	t.st.setService(key.node, s, t.idx)
}

func (t *Tx) find(id string) serviceKey {
	key, err := t.st.find(t.node, t.own, id)
	t.check(err)
	return key
}

func (t *Tx) check(err error) {
	if err != nil {
		panic(fmt.Sprintf("consultest: %v", err))
	}
}

// Register adds or changes instances, and returns the index of the change.
func (s *Server) Register(services ...Service) uint64 {
	return s.Txn(func(t *Tx) { t.Register(services...) })
}

// Deregister removes an instance, and returns the index of the change.
func (s *Server) Deregister(id string) uint64 { return s.Txn(func(t *Tx) { t.Deregister(id) }) }

// SetTags replaces the tags of an instance, and returns the index of the change.
func (s *Server) SetTags(id string, tags ...string) uint64 {
	return s.Txn(func(t *Tx) { t.SetTags(id, tags...) })
}

// SetCheck sets state and output of an instance's check, and returns the index of the change.
func (s *Server) SetCheck(id, status, output string) uint64 {
	return s.Txn(func(t *Tx) { t.SetCheck(id, status, output) })
}

// Index is the index of the last write.
func (s *Server) Index() uint64 {
	var i uint64
	s.backend.store.view(func(st *state) { i = st.index })
	return i
}

// Restore sets the raft index to i and keeps everything else: it is what
// clients see of a cluster that was set up anew from a copy of the old one.
// Queries that wait are answered at once, with what was there before. [Server.RestoreSnapshot] is what
// `consul snapshot restore` does to a cluster that lives on.
func (s *Server) Restore(i uint64) {
	s.backend.store.replace(func(old *state) *state {
		st := old.clone()
		st.rewind(i)
		return st
	})
}
