package consultest

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
)

// catalogRegistration is the body of /v1/catalog/register, as far as the double knows it.
type catalogRegistration struct {
	ID              string
	Node            string
	Address         string
	TaggedAddresses map[string]string
	NodeMeta        map[string]string
	SkipNodeUpdate  bool
	Service         *serviceBody
	Check           *checkRow
	Checks          []checkRow
}

// serviceBody is a service as clients write it.
type serviceBody struct {
	ID                string
	Service           string
	Tags              []string
	Address           string
	Meta              map[string]string
	Port              int
	Weights           weights
	EnableTagOverride bool
}

func (s serviceBody) row() serviceRow {
	return serviceRow{
		ID: cmp.Or(s.ID, s.Service), Service: s.Service, Tags: s.Tags, Address: s.Address, Meta: s.Meta,
		Port: s.Port, Weights: s.Weights, EnableTagOverride: s.EnableTagOverride,
	}
}

func (b *backend) catalogRegister(c *call) (*Answer, error) {
	var body catalogRegistration
	if err := c.decode(&body, false); err != nil {
		return nil, err
	}
	if body.Node == "" {
		return nil, saying("Must provide node")
	}
	if body.Address == "" && !body.SkipNodeUpdate {
		return nil, saying("Must provide address if SkipNodeUpdate is not set")
	}
	if body.Service != nil && body.Service.Service == "" && body.Service.ID != "" {
		return nil, saying("Must provide service name (Service.Service) when service ID is provided")
	}
	if err := b.store.update(func(st *state, idx uint64) error { return b.registerIn(st, body, idx) }); err != nil {
		return nil, err
	}
	return jsonAnswer(true), nil
}

func (b *backend) registerIn(st *state, body catalogRegistration, idx uint64) error {
	if body.Check != nil {
		body.Checks = append(body.Checks, *body.Check)
	}
	for i := range body.Checks {
		ck := &body.Checks[i]
		ck.Node, ck.CheckID = cmp.Or(ck.Node, body.Node), cmp.Or(ck.CheckID, ck.Name)
		if ck.ServiceID != "" && body.Service != nil && ck.ServiceID == body.Service.row().ID {
			continue
		}
		if _, ok := st.services[serviceKey{ck.Node, ck.ServiceID}]; ck.ServiceID != "" && !ok {
			return saying("Missing service registration")
		}
	}
	if _, ok := st.nodes[body.Node]; !ok && body.SkipNodeUpdate {
		return saying("Missing node registration")
	}
	if !body.SkipNodeUpdate {
		st.setNode(nodeRow{
			ID: body.ID, Node: body.Node, Address: body.Address, Datacenter: b.datacenter,
			TaggedAddresses: body.TaggedAddresses, Meta: body.NodeMeta,
		}, idx)
	}
	if body.Service != nil {
		st.setService(body.Node, body.Service.row(), idx)
	}
	for _, ck := range body.Checks {
		if err := st.setCheck(ck, idx); err != nil {
			return err
		}
	}
	return nil
}

func (b *backend) catalogDeregister(c *call) (*Answer, error) {
	var body struct{ Node, ServiceID, CheckID string }
	if err := c.decode(&body, false); err != nil {
		return nil, err
	}
	if body.Node == "" {
		return nil, saying("Must provide node")
	}
	err := b.store.update(func(st *state, idx uint64) error {
		switch {
		case body.ServiceID != "":
			st.dropService(body.Node, body.ServiceID, idx)
		case body.CheckID != "":
			st.dropCheck(body.Node, body.CheckID, idx)
		default:
			st.dropNode(body.Node, idx)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return jsonAnswer(true), nil
}

func (b *backend) catalogDatacenters(*call) (*Answer, error) {
	return jsonAnswer([]string{b.datacenter}), nil
}

func (b *backend) catalogNodes(c *call) (*Answer, error) {
	return b.query(c, func(st *state) reading {
		found := []nodeRow{}
		for _, n := range st.nodes {
			if c.rights == AllRights {
				found = append(found, n)
			}
		}
		slices.SortFunc(found, func(x, y nodeRow) int { return strings.Compare(x.Node, y.Node) })
		return reading{value: found, index: st.catalog, version: st.catalog}
	})
}

func (b *backend) catalogServices(c *call) (*Answer, error) {
	return b.query(c, func(st *state) reading {
		found := map[string][]string{}
		for _, s := range st.services {
			if c.rights != AllRights {
				continue
			}
			tags := append(found[s.Service], s.Tags...)
			slices.Sort(tags)
			found[s.Service] = append([]string{}, slices.Compact(tags)...)
		}
		return reading{value: found, index: st.catalog, version: st.catalog}
	})
}

// catalogEntry is one instance in an answer of /v1/catalog/service.
type catalogEntry struct {
	ID                       string
	Node                     string
	Address                  string
	Datacenter               string
	TaggedAddresses          map[string]string
	NodeMeta                 map[string]string
	ServiceID                string
	ServiceName              string
	ServiceTags              []string
	ServiceAddress           string
	ServiceWeights           weights
	ServiceMeta              map[string]string
	ServicePort              int
	ServiceEnableTagOverride bool
	indexes
}

func (b *backend) catalogService(c *call) (*Answer, error) {
	if c.rest == "" {
		return nil, refuse(http.StatusBadRequest, "Missing service name")
	}
	return b.query(c, func(st *state) reading {
		found := []catalogEntry{}
		for _, e := range st.health(c.rest, c.args["tag"]) {
			if c.rights != AllRights {
				break
			}
			n, s := e.Node, e.Service
			found = append(found, catalogEntry{
				n.ID, n.Node, n.Address, n.Datacenter, n.TaggedAddresses, n.Meta,
				s.ID, s.Service, s.Tags, s.Address, s.Weights, s.Meta, s.Port, s.EnableTagOverride, s.indexes,
			})
		}
		return reading{value: found, index: st.serviceIndex(c.rest), version: st.touched[c.rest]}
	})
}

func sortChecks(checks []checkRow) {
	slices.SortFunc(checks, func(a, b checkRow) int {
		return cmp.Or(strings.Compare(a.Node, b.Node), strings.Compare(a.CheckID, b.CheckID))
	})
}
