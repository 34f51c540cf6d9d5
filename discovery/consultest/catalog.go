package consultest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The states of a check.
const (
	Passing  = "passing"
	Warning  = "warning"
	Critical = "critical"
)

// serfHealth is the check by which a node says that it lives.
const serfHealth = "serfHealth"

// nodeRow, serviceRow and checkRow are what /v1/health/service shows of each.
type nodeRow struct {
	ID              string
	Node            string
	Address         string
	Datacenter      string
	TaggedAddresses map[string]string
	Meta            map[string]string
	indexes
}

type serviceRow struct {
	ID                string
	Service           string
	Tags              []string // never nil
	Address           string
	Meta              map[string]string
	Port              int
	Weights           weights
	EnableTagOverride bool
	indexes
}

type weights struct{ Passing, Warning int }

type checkRow struct {
	Node        string
	CheckID     string
	Name        string
	Status      string
	Notes       string
	Output      string
	ServiceID   string
	ServiceName string
	ServiceTags []string // never nil
	Type        string
	Interval    string
	Timeout     string
	indexes
}

// healthEntry is one instance in an answer of /v1/health/service.
type healthEntry struct {
	Node    nodeRow
	Service serviceRow
	Checks  []checkRow
}

func (e healthEntry) passing() bool {
	return !slices.ContainsFunc(e.Checks, func(c checkRow) bool { return c.Status != Passing })
}

// setNode adds or changes a node.
func (st *state) setNode(n nodeRow, idx uint64) {
	old := st.nodes[n.Node]
	n.indexes = old.indexes
	if old.CreateIndex != 0 && n.ID == old.ID && n.Address == old.Address &&
		maps.Equal(n.Meta, old.Meta) && maps.Equal(n.TaggedAddresses, old.TaggedAddresses) {
		return
	}
	n.indexes = old.at(idx)
	st.nodes[n.Node] = n
	st.touchNode(n.Node, idx)
}

// setService adds or changes an instance on a node that is there. An
// identical one leaves no trace.
func (st *state) setService(node string, s serviceRow, idx uint64) {
	key := serviceKey{node, s.ID}
	old, was := st.services[key]
	s.indexes = old.indexes
	if s.Tags == nil {
		s.Tags = []string{}
	}
	if s.Weights == (weights{}) {
		s.Weights = weights{1, 1}
	}
	if was && s.same(old) {
		return
	}
	s.indexes = old.at(idx)
	st.services[key] = s
	if was && old.Service != s.Service {
		st.touched[old.Service] = idx
		st.bury(old.Service, idx)
	}
	st.touched[s.Service], st.catalog = idx, idx
	for ck, c := range st.checks { // a check shows the name and tags of its service
		if c.Node == node && c.ServiceID == s.ID {
			c.ServiceName, c.ServiceTags = s.Service, s.Tags
			st.checks[ck] = c
		}
	}
}

func (s serviceRow) same(o serviceRow) bool {
	return s.Service == o.Service && slices.Equal(s.Tags, o.Tags) && s.Address == o.Address && s.Port == o.Port &&
		maps.Equal(s.Meta, o.Meta) && s.Weights == o.Weights && s.EnableTagOverride == o.EnableTagOverride
}

// setCheck adds or changes a check of a node, or of a service of it that is there.
// A critical check ends the sessions that hang on it.
func (st *state) setCheck(c checkRow, idx uint64) error {
	if _, ok := st.nodes[c.Node]; !ok {
		return saying("Missing node registration")
	}
	c.ServiceTags = []string{}
	if c.ServiceID != "" {
		s, ok := st.services[serviceKey{c.Node, c.ServiceID}]
		if !ok {
			return saying("Missing service registration")
		}
		c.ServiceName, c.ServiceTags = s.Service, s.Tags
	}
	c.Status = cmp.Or(c.Status, Critical)
	if c.Status == Critical {
		st.endSessionsOf(c.Node, c.CheckID, idx)
	}
	key := checkKey{c.Node, c.CheckID}
	old, was := st.checks[key]
	c.indexes = old.indexes
	if was && c.same(old) {
		return nil
	}
	c.indexes = old.at(idx)
	st.checks[key] = c
	st.touchCheck(c, idx)
	return nil
}

func (c checkRow) same(o checkRow) bool {
	return c.CheckID == o.CheckID && c.Name == o.Name && c.Status == o.Status && c.Notes == o.Notes &&
		c.Output == o.Output && c.ServiceID == o.ServiceID && c.ServiceName == o.ServiceName && c.Type == o.Type &&
		c.Interval == o.Interval && c.Timeout == o.Timeout
}

// dropService removes an instance with its checks.
func (st *state) dropService(node, id string, idx uint64) {
	key := serviceKey{node, id}
	s, ok := st.services[key]
	if !ok {
		return
	}
	for ck, c := range st.checks {
		if c.Node == node && c.ServiceID == id {
			st.dropCheck(ck.node, ck.id, idx)
		}
	}
	delete(st.services, key)
	st.touched[s.Service], st.catalog = idx, idx
	st.bury(s.Service, idx)
}

// bury notes that name has no instance left, if so.
func (st *state) bury(name string, idx uint64) {
	for _, s := range st.services {
		if s.Service == name {
			return
		}
	}
	st.extinct = idx
}

func (st *state) dropCheck(node, id string, idx uint64) {
	key := checkKey{node, id}
	c, ok := st.checks[key]
	if !ok {
		return
	}
	delete(st.checks, key)
	st.endSessionsOf(node, id, idx)
	st.touchCheck(c, idx)
}

// dropNode removes a node with all that is on it.
func (st *state) dropNode(node string, idx uint64) {
	if _, ok := st.nodes[node]; !ok {
		return
	}
	for key := range st.services {
		if key.node == node {
			st.dropService(node, key.id, idx)
		}
	}
	for key := range st.checks {
		if key.node == node {
			st.dropCheck(node, key.id, idx)
		}
	}
	for id, s := range st.sessions {
		if s.Node == node {
			st.endSession(id, idx)
		}
	}
	delete(st.nodes, node)
	st.catalog = idx
}

// touchCheck marks what shows the check: its service, or every service of its node.
func (st *state) touchCheck(c checkRow, idx uint64) {
	st.catalog = idx
	if c.ServiceID != "" {
		st.touched[c.ServiceName] = idx
		return
	}
	st.touchNode(c.Node, idx)
}

func (st *state) touchNode(node string, idx uint64) {
	st.catalog = idx
	for key, s := range st.services {
		if key.node == node {
			st.touched[s.Service] = idx
		}
	}
}

// find is the instance id: on the node named, or, without a name, on the node
// preferred or else the only one that has it.
func (st *state) find(node, prefer, id string) (serviceKey, error) {
	if node != "" {
		prefer = node
	}
	if _, ok := st.services[serviceKey{prefer, id}]; ok {
		return serviceKey{prefer, id}, nil
	}
	if node != "" {
		return serviceKey{}, fmt.Errorf("no service %q on node %q", id, node)
	}
	var found []serviceKey
	for key := range st.services {
		if key.id == id {
			found = append(found, key)
		}
	}
	if len(found) != 1 {
		return serviceKey{}, fmt.Errorf("service %q is on %d nodes", id, len(found))
	}
	return found[0], nil
}

// health lists the instances of a service that carry all tags, by node and id.
func (st *state) health(name string, tags []string) []healthEntry {
	out := []healthEntry{}
	for key, s := range st.services {
		if s.Service == name && hasTags(s.Tags, tags) {
			out = append(out, healthEntry{st.nodes[key.node], s, st.checksOf(key)})
		}
	}
	slices.SortFunc(out, func(a, b healthEntry) int {
		return cmp.Or(strings.Compare(a.Node.Node, b.Node.Node), strings.Compare(a.Service.ID, b.Service.ID))
	})
	return out
}

// checksOf lists the checks of an instance and of its node, by id.
func (st *state) checksOf(key serviceKey) []checkRow {
	out := []checkRow{}
	for _, c := range st.checks {
		if c.Node == key.node && (c.ServiceID == "" || c.ServiceID == key.id) {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b checkRow) int {
		return cmp.Or(strings.Compare(a.ServiceID, b.ServiceID), strings.Compare(a.CheckID, b.CheckID))
	})
	return out
}

// serviceIndex is the index that an answer about a service carries.
func (st *state) serviceIndex(name string) uint64 {
	for _, s := range st.services {
		if s.Service == name {
			return st.touched[name]
		}
	}
	if st.extinct != 0 {
		return st.extinct
	}
	return st.catalog
}

func hasTags(have, want []string) bool {
	for _, w := range want {
		if !slices.ContainsFunc(have, func(h string) bool { return strings.EqualFold(h, w) }) {
			return false
		}
	}
	return true
}
