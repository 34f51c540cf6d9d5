package consultest

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/hashicorp/consul/api"
)

// maintenancePrefix begins the id of the check that holds a service in maintenance.
const maintenancePrefix = "_service_maintenance:"

// checkDef is a check that the agent runs: TTL, or TCP.
type checkDef struct {
	id       string
	ttl      time.Duration
	tcp      string
	interval time.Duration
	timeout  time.Duration
	row      checkRow
}

func (b *backend) agentRegister(c *call) (*Answer, error) {
	var body api.AgentServiceRegistration
	if err := c.decode(&body, true); err != nil {
		return nil, err
	}
	if body.Name == "" {
		return nil, refuse(http.StatusBadRequest, "Missing service name")
	}
	if body.Port < 0 || body.Port > 65535 {
		return nil, refuse(http.StatusBadRequest, "Invalid port")
	}
	svc := serviceRow{
		ID: cmp.Or(body.ID, body.Name), Service: body.Name, Tags: body.Tags, Address: body.Address,
		Meta: body.Meta, Port: body.Port, EnableTagOverride: body.EnableTagOverride,
	}
	if w := body.Weights; w != nil {
		svc.Weights = weights{w.Passing, w.Warning}
	}
	all := slices.Clone(body.Checks)
	if body.Check != nil {
		all = append(api.AgentServiceChecks{body.Check}, all...)
	}
	var defs []checkDef
	for i, ck := range all {
		d, err := b.checkDef(svc, ck, i, len(all))
		if err != nil {
			return nil, err
		}
		defs = append(defs, d)
	}
	replace, err := c.flag("replace-existing-checks")
	if err != nil {
		return nil, err
	}
	for _, id := range b.registerService(svc, defs, replace) {
		b.agent.drop(id)
	}
	for _, d := range defs {
		b.agent.run(d)
	}
	return done(), nil
}

// registerService writes a service and its checks in one go. A check that was
// there keeps its status. With replace, checks of the service that are not
// among defs go; their ids are returned.
func (b *backend) registerService(svc serviceRow, defs []checkDef, replace bool) (dropped []string) {
	b.store.update(func(st *state, idx uint64) error { // the node is there, so nothing fails
		st.setService(b.node, svc, idx)
		keep := map[string]bool{}
		for _, d := range defs {
			keep[d.id] = true
			if old, ok := st.checks[checkKey{b.node, d.id}]; ok {
				d.row.Status, d.row.Output = old.Status, old.Output
			}
			st.setCheck(d.row, idx)
		}
		for key, ck := range st.checks {
			if replace && key.node == b.node && ck.ServiceID == svc.ID && !keep[key.id] {
				st.dropCheck(key.node, key.id, idx)
				dropped = append(dropped, key.id)
			}
		}
		return nil
	})
	return dropped
}

// checkDef reads the i-th of n checks of a service.
func (b *backend) checkDef(svc serviceRow, ck *api.AgentServiceCheck, i, n int) (checkDef, error) {
	id := "service:" + svc.ID
	if n > 1 {
		id = fmt.Sprintf("%s:%d", id, i+1)
	}
	d := checkDef{id: cmp.Or(ck.CheckID, id), tcp: ck.TCP}
	kind := ""
	for _, f := range []struct {
		name, text string
		to         *time.Duration
	}{{"TTL", ck.TTL, &d.ttl}, {"Interval", ck.Interval, &d.interval}, {"Timeout", ck.Timeout, &d.timeout}} {
		if f.text == "" {
			continue
		}
		v, err := time.ParseDuration(f.text)
		if err != nil {
			return d, refuse(http.StatusBadRequest, "Request decode failed: check %s: %v", f.name, err)
		}
		*f.to = v
	}
	switch {
	case d.ttl > 0 && d.tcp == "":
		kind = "ttl"
	case d.tcp != "" && d.interval > 0 && d.ttl == 0:
		kind, d.timeout = "tcp", cmp.Or(d.timeout, 10*time.Second)
	default:
		return d, refuse(http.StatusBadRequest, "Invalid check: the double knows TTL, and TCP with an Interval")
	}
	if ck.Status != "" && !validStatus(ck.Status) {
		return d, refuse(http.StatusBadRequest, "Status for checks must 'passing', 'warning', 'critical'")
	}
	d.row = checkRow{
		Node: b.node, CheckID: d.id, Name: cmp.Or(ck.Name, fmt.Sprintf("Service '%s' check", svc.Service)),
		Status: cmp.Or(ck.Status, Critical), Notes: ck.Notes, ServiceID: svc.ID, Type: kind,
	}
	if d.tcp != "" {
		d.row.Interval, d.row.Timeout = d.interval.String(), ck.Timeout
	}
	return d, nil
}

func (b *backend) agentDeregister(c *call) (*Answer, error) {
	var checks []string
	err := b.store.update(func(st *state, idx uint64) error {
		key := serviceKey{b.node, c.rest}
		if _, ok := st.services[key]; !ok {
			return unknownService(c.rest)
		}
		for ck, row := range st.checks {
			if ck.node == b.node && row.ServiceID == c.rest {
				checks = append(checks, ck.id)
			}
		}
		st.dropService(key.node, key.id, idx)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, id := range checks {
		b.agent.drop(id)
	}
	return done(), nil
}

func (b *backend) agentMaintenance(c *call) (*Answer, error) {
	if !c.has("enable") {
		return nil, refuse(http.StatusBadRequest, "Missing value for enable")
	}
	on, err := c.flag("enable")
	if err != nil {
		return nil, err
	}
	err = b.store.update(func(st *state, idx uint64) error {
		key := serviceKey{b.node, c.rest}
		if _, ok := st.services[key]; !ok {
			return unknownService(c.rest)
		}
		if !on {
			st.dropCheck(b.node, maintenancePrefix+c.rest, idx)
			return nil
		}
		return st.setCheck(checkRow{
			Node: b.node, CheckID: maintenancePrefix + c.rest, Name: "Service Maintenance Mode", Status: Critical,
			Notes:     cmp.Or(c.args.Get("reason"), "Maintenance mode is enabled for this service, but no reason was provided."),
			ServiceID: c.rest, Type: "maintenance",
		}, idx)
	})
	if err != nil {
		return nil, err
	}
	return done(), nil
}

// agentService is a service as /v1/agent/services shows it.
type agentService struct {
	ID                string
	Service           string
	Tags              []string
	Meta              map[string]string
	Port              int
	Address           string
	Weights           weights
	EnableTagOverride bool
	Datacenter        string
}

func (b *backend) agentServices(c *call) (*Answer, error) {
	found := map[string]agentService{}
	b.store.view(func(st *state) {
		for key, s := range st.services {
			if key.node == b.node && c.rights == AllRights {
				found[key.id] = agentService{s.ID, s.Service, s.Tags, s.Meta, s.Port, s.Address, s.Weights, s.EnableTagOverride, b.datacenter}
			}
		}
	})
	return jsonAnswer(found), nil
}

func (b *backend) agentChecks(c *call) (*Answer, error) {
	found := map[string]checkRow{}
	b.store.view(func(st *state) {
		for key, ck := range st.checks {
			if key.node == b.node && key.id != serfHealth && c.rights == AllRights {
				found[key.id] = ck
			}
		}
	})
	return jsonAnswer(found), nil
}

func (b *backend) agentCheckPass(c *call) (*Answer, error) {
	return b.feed(c.rest, Passing, c.args.Get("note"))
}

func (b *backend) agentCheckWarn(c *call) (*Answer, error) {
	return b.feed(c.rest, Warning, c.args.Get("note"))
}

func (b *backend) agentCheckFail(c *call) (*Answer, error) {
	return b.feed(c.rest, Critical, c.args.Get("note"))
}

func (b *backend) agentCheckUpdate(c *call) (*Answer, error) {
	var body struct{ Status, Output string }
	if err := c.decode(&body, false); err != nil {
		return nil, err
	}
	if !validStatus(body.Status) {
		return nil, refuse(http.StatusBadRequest, "Invalid check status: '%s'", body.Status)
	}
	return b.feed(c.rest, body.Status, body.Output)
}

func (b *backend) feed(id, status, output string) (*Answer, error) {
	if !b.agent.feed(id, status, output) {
		return nil, unknownCheck(id)
	}
	return done(), nil
}

func validStatus(s string) bool { return s == Passing || s == Warning || s == Critical }
