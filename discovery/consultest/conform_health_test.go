package consultest_test

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

func wakesOnTagChange(t *testing.T, c consul) {
	r := &api.AgentServiceRegistration{ID: "wt-1", Name: "wt", Port: 1, Tags: []string{"role=slave"}}
	c.register(t, r)
	got := c.woken(t, "wt", func() {
		r.Tags = []string{"role=master"}
		c.register(t, r)
	})
	if tags := only(t, got).Service.Tags; !slices.Equal(tags, r.Tags) {
		t.Errorf("tags after the wake: got %q; want %q", tags, r.Tags)
	}
}

// wakesOnElection moves the master's tag in both orders; with the tag in the query
// the watcher sees nobody, or both, or the change at once, and ends at the new master.
func wakesOnElection(t *testing.T, c consul) {
	reg := func(id, role string) {
		c.register(t, &api.AgentServiceRegistration{ID: id, Name: "we", Port: 1, Tags: []string{"role=" + role}})
	}
	master := func() string {
		var ids []string
		for _, e := range c.health(t, "we", 0, "role=master") {
			ids = append(ids, e.Service.ID)
		}
		return strings.Join(ids, "+")
	}
	reg("we-1", "master")
	reg("we-2", "slave")
	for _, step := range []struct{ id, role, want string }{
		{"we-1", "slave", ""}, {"we-2", "master", "we-2"}, // untag, then tag
		{"we-1", "master", "we-1+we-2"}, {"we-2", "slave", "we-1"}, // tag, then untag
	} {
		c.woken(t, "we", func() { reg(step.id, step.role) })
		if got := master(); got != step.want {
			t.Errorf("masters after %s became %s: got %q; want %q", step.id, step.role, got, step.want)
		}
	}
}

func wakesOnDeregistration(t *testing.T, c consul) {
	c.register(t, &api.AgentServiceRegistration{ID: "wd-1", Name: "wd", Port: 1})
	got := c.woken(t, "wd", func() { must(t, c.Agent().ServiceDeregister("wd-1")) })
	if len(got) != 0 {
		t.Errorf("instances after deregistration: got %d; want 0", len(got))
	}
}

func wakesOnFirstInstance(t *testing.T, c consul) {
	if i := c.index(t, "wf"); i == 0 {
		t.Error("index of a service that never was: got 0; want above 0, or watchers spin")
	}
	got := c.woken(t, "wf", func() {
		c.register(t, &api.AgentServiceRegistration{ID: "wf-1", Name: "wf", Port: 1})
	})
	only(t, got)
}

func sleepsThroughOthers(t *testing.T, c consul) {
	c.register(t, &api.AgentServiceRegistration{ID: "so-1", Name: "so", Port: 1})
	c.unmoved(t, "so", func() {
		c.register(t, &api.AgentServiceRegistration{ID: "so-other-1", Name: "so-other", Port: 1})
		_, err := c.KV().Put(&api.KVPair{Key: "so"}, nil)
		must(t, err)
	})
}

func futureIndexWaits(t *testing.T, c consul) {
	c.register(t, &api.AgentServiceRegistration{ID: "fi-1", Name: "fi", Port: 1})
	now := c.index(t, "fi")
	begun := time.Now()
	_, meta := c.healthMeta(t, "fi", &api.QueryOptions{WaitIndex: now + 1e9, WaitTime: quiet}, false)
	if d := time.Since(begun); d < quiet {
		t.Errorf("time waited: got %v; want at least %v", d, quiet)
	}
	if meta.LastIndex != now {
		t.Errorf("index: got %d; want %d", meta.LastIndex, now)
	}
}

func identicalRegistration(t *testing.T, c consul) {
	r := &api.AgentServiceRegistration{
		ID: "ir-1", Name: "ir", Port: 1, Tags: []string{"role=master"}, Meta: map[string]string{"k": "v"},
		Check: &api.AgentServiceCheck{TTL: "1m"},
	}
	c.register(t, r)
	was := only(t, c.health(t, "ir", 0)).Service.ModifyIndex
	c.unmoved(t, "ir", func() { c.register(t, r) })
	if now := only(t, c.health(t, "ir", 0)).Service.ModifyIndex; now != was {
		t.Errorf("Service.ModifyIndex: got %d; want %d", now, was)
	}
}

func modifyIndexRises(t *testing.T, c consul) {
	r := &api.AgentServiceRegistration{ID: "mr-1", Name: "mr", Port: 1, Address: "127.0.0.1"}
	c.register(t, r)
	created := only(t, c.health(t, "mr", 0)).Service.CreateIndex
	for _, step := range []struct {
		what   string
		change func()
	}{
		{"tags", func() { r.Tags = []string{"a"} }},
		{"address", func() { r.Address = "127.0.0.2" }},
		{"port", func() { r.Port = 2 }},
		{"meta", func() { r.Meta = map[string]string{"k": "v"} }},
	} {
		was := only(t, c.health(t, "mr", 0)).Service.ModifyIndex
		step.change()
		s := only(t, c.woken(t, "mr", func() { c.register(t, r) })).Service
		if s.ModifyIndex <= was {
			t.Errorf("ModifyIndex after a change of %s: got %d; want above %d", step.what, s.ModifyIndex, was)
		}
		if s.CreateIndex != created {
			t.Errorf("CreateIndex after a change of %s: got %d; want %d", step.what, s.CreateIndex, created)
		}
	}
}

func modifyIndexIgnoresChecks(t *testing.T, c consul) {
	c.register(t, &api.AgentServiceRegistration{ID: "mi-1", Name: "mi", Port: 1, Check: &api.AgentServiceCheck{TTL: "1m"}})
	was := only(t, c.health(t, "mi", 0)).Service.ModifyIndex
	for _, status := range []string{"passing", "warning", "critical"} {
		e := only(t, c.woken(t, "mi", func() { must(t, c.Agent().UpdateTTL("service:mi-1", "", status)) }))
		if e.Checks.AggregatedStatus() != status {
			t.Errorf("status after the wake: got %s; want %s", e.Checks.AggregatedStatus(), status)
		}
		if e.Service.ModifyIndex != was {
			t.Errorf("ModifyIndex with the check %s: got %d; want %d", status, e.Service.ModifyIndex, was)
		}
	}
}

func outputAlone(t *testing.T, c consul) {
	c.register(t, &api.AgentServiceRegistration{ID: "oa-1", Name: "oa", Port: 1, Check: &api.AgentServiceCheck{TTL: "1m"}})
	c.woken(t, "oa", func() { must(t, c.Agent().UpdateTTL("service:oa-1", "one", "passing")) })
	c.unmoved(t, "oa", func() { must(t, c.Agent().UpdateTTL("service:oa-1", "two", "passing")) })
}

func tagsAnded(t *testing.T, c consul) {
	c.register(t, &api.AgentServiceRegistration{ID: "ta-1", Name: "ta", Port: 1, Tags: []string{"role=master", "label=default"}})
	c.register(t, &api.AgentServiceRegistration{ID: "ta-2", Name: "ta", Port: 2, Tags: []string{"role=slave", "Label=Default"}})
	for _, tc := range []struct {
		tags []string
		want string
	}{
		{nil, "ta-1 ta-2"},
		{[]string{"role=master"}, "ta-1"},
		{[]string{"ROLE=Master"}, "ta-1"},
		{[]string{"label=default"}, "ta-1 ta-2"},
		{[]string{"label=default", "role=slave"}, "ta-2"},
		{[]string{"role=master", "role=slave"}, ""},
		{[]string{"role"}, ""},
	} {
		var ids []string
		for _, e := range c.health(t, "ta", 0, tc.tags...) {
			ids = append(ids, e.Service.ID)
		}
		if got := strings.Join(ids, " "); got != tc.want {
			t.Errorf("instances with %q: got %q; want %q", tc.tags, got, tc.want)
		}
	}
}

func passingOnly(t *testing.T, c consul) {
	for _, status := range []string{"passing", "warning", "critical"} {
		id := "po-" + status
		c.register(t, &api.AgentServiceRegistration{ID: id, Name: "po", Port: 1, Check: &api.AgentServiceCheck{TTL: "1m", Status: status}})
	}
	entries, _ := c.healthMeta(t, "po", nil, true)
	if e := only(t, entries); e.Service.ID != "po-passing" {
		t.Errorf("passing instance: got %s; want po-passing", e.Service.ID)
	}
	if n := len(c.health(t, "po", 0)); n != 3 {
		t.Errorf("instances in any state: got %d; want 3", n)
	}
}

func nodeCheckCounts(t *testing.T, c consul) {
	reg := func(status string) {
		_, err := c.Catalog().Register(&api.CatalogRegistration{
			Node: "nc-node", Address: "127.0.0.3", Service: &api.AgentService{ID: "nc-1", Service: "nc", Port: 1},
			Check: &api.AgentCheck{Node: "nc-node", CheckID: "serfHealth", Name: "Serf Health Status", Status: status},
		}, nil)
		must(t, err)
	}
	reg("passing")
	t.Cleanup(func() { c.Catalog().Deregister(&api.CatalogDeregistration{Node: "nc-node"}, nil) })
	entries, _ := c.healthMeta(t, "nc", nil, true)
	was := only(t, entries).Service.ModifyIndex
	e := only(t, c.woken(t, "nc", func() { reg("critical") }))
	if e.Checks.AggregatedStatus() != "critical" || e.Service.ModifyIndex != was {
		t.Errorf("after the node failed: got %s, ModifyIndex %d; want critical, %d", e.Checks.AggregatedStatus(), e.Service.ModifyIndex, was)
	}
	if entries, _ := c.healthMeta(t, "nc", nil, true); len(entries) != 0 {
		t.Errorf("passing instances on a failed node: got %d; want 0", len(entries))
	}
}

func twoNodes(t *testing.T, c consul) {
	for i, node := range []string{"tn-b", "tn-a"} {
		_, err := c.Catalog().Register(&api.CatalogRegistration{
			Node: node, Address: fmt.Sprintf("127.0.0.%d", 10+i), Service: &api.AgentService{ID: "tn-1", Service: "tn", Port: 1},
		}, nil)
		must(t, err)
		t.Cleanup(func() { c.Catalog().Deregister(&api.CatalogDeregistration{Node: node}, nil) })
	}
	entries := c.health(t, "tn", 0)
	if len(entries) != 2 || entries[0].Node.Node != "tn-a" || entries[1].Node.Node != "tn-b" {
		t.Fatalf("instances: got %d; want one on tn-a, then one on tn-b", len(entries))
	}
	_, err := c.Catalog().Deregister(&api.CatalogDeregistration{Node: "tn-a", ServiceID: "tn-1"}, nil)
	must(t, err)
	if e := only(t, c.health(t, "tn", 0)); e.Node.Node != "tn-b" {
		t.Errorf("instance left: got the one on %s; want that on tn-b", e.Node.Node)
	}
}

func emptyAddress(t *testing.T, c consul) {
	c.register(t, &api.AgentServiceRegistration{ID: "ea-1", Name: "ea", Port: 1})
	e := only(t, c.health(t, "ea", 0))
	if e.Service.Address != "" || e.Node.Address != "127.0.0.1" {
		t.Errorf("addresses of service and node: got %q, %q; want \"\", 127.0.0.1", e.Service.Address, e.Node.Address)
	}
}

func maintenance(t *testing.T, c consul) {
	c.register(t, &api.AgentServiceRegistration{ID: "ma-1", Name: "ma", Port: 1})
	was := only(t, c.health(t, "ma", 0)).Service.ModifyIndex
	e := only(t, c.woken(t, "ma", func() { must(t, c.Agent().EnableServiceMaintenance("ma-1", "upgrade")) }))
	if got := e.Checks.AggregatedStatus(); got != api.HealthMaint {
		t.Errorf("status in maintenance: got %s; want %s", got, api.HealthMaint)
	}
	if entries, _ := c.healthMeta(t, "ma", nil, true); len(entries) != 0 {
		t.Errorf("passing instances in maintenance: got %d; want 0", len(entries))
	}
	e = only(t, c.woken(t, "ma", func() { must(t, c.Agent().DisableServiceMaintenance("ma-1")) }))
	if got := e.Checks.AggregatedStatus(); got != api.HealthPassing || e.Service.ModifyIndex != was {
		t.Errorf("after maintenance: got %s, ModifyIndex %d; want passing, %d", got, e.Service.ModifyIndex, was)
	}
}

func registrationKeepsStatus(t *testing.T, c consul) {
	r := &api.AgentServiceRegistration{ID: "rk-1", Name: "rk", Port: 1, Check: &api.AgentServiceCheck{TTL: "1m"}}
	c.register(t, r)
	c.woken(t, "rk", func() { must(t, c.Agent().UpdateTTL("service:rk-1", "", "passing")) })
	r.Tags = []string{"role=master"}
	e := only(t, c.woken(t, "rk", func() { c.register(t, r) }))
	if got := e.Checks.AggregatedStatus(); got != api.HealthPassing {
		t.Errorf("status after a registration in place: got %s; want passing", got)
	}
	if tags := e.Checks[len(e.Checks)-1].ServiceTags; !slices.Equal(tags, r.Tags) {
		t.Errorf("tags that the check shows: got %q; want %q", tags, r.Tags)
	}
}

func replaceChecks(t *testing.T, c consul) {
	r := &api.AgentServiceRegistration{ID: "rc-1", Name: "rc", Port: 1, Checks: api.AgentServiceChecks{{TTL: "1m"}, {TTL: "2m"}}}
	c.register(t, r)
	ids := func() string {
		var ids []string
		for _, ck := range only(t, c.health(t, "rc", 0)).Checks {
			if ck.ServiceID != "" {
				ids = append(ids, ck.CheckID)
			}
		}
		return strings.Join(ids, " ")
	}
	if got, want := ids(), "service:rc-1:1 service:rc-1:2"; got != want {
		t.Errorf("checks: got %q; want %q", got, want)
	}
	r.Checks = api.AgentServiceChecks{{CheckID: "own", TTL: "1m"}}
	c.register(t, r)
	eventually(t, "a registration adds its check and keeps the others", func() bool {
		return ids() == "own service:rc-1:1 service:rc-1:2"
	})
	must(t, c.Agent().ServiceRegisterOpts(r, api.ServiceRegisterOpts{ReplaceExistingChecks: true}))
	eventually(t, "replace-existing-checks leaves one", func() bool { return ids() == "own" })
}

func initialStatus(t *testing.T, c consul) {
	c.register(t, &api.AgentServiceRegistration{ID: "is-1", Name: "is", Port: 1, Check: &api.AgentServiceCheck{TTL: "1m", Status: "passing"}})
	c.register(t, &api.AgentServiceRegistration{ID: "is-2", Name: "is", Port: 2, Check: &api.AgentServiceCheck{TTL: "1m"}})
	entries, _ := c.healthMeta(t, "is", nil, true)
	if e := only(t, entries); e.Service.ID != "is-1" {
		t.Errorf("passing at first: got %s; want is-1 alone, since critical is the default", e.Service.ID)
	}
}

func ttlExpires(t *testing.T, c consul) {
	c.register(t, &api.AgentServiceRegistration{ID: "te-1", Name: "te", Port: 1, Check: &api.AgentServiceCheck{TTL: "700ms"}})
	c.woken(t, "te", func() { must(t, c.Agent().UpdateTTL("service:te-1", "last words", "passing")) })
	eventually(t, "the check is critical, and its output has the last words", func() bool {
		checks := only(t, c.health(t, "te", 0)).Checks
		ck := checks[len(checks)-1]
		return ck.Status == "critical" && ck.Output == "TTL expired (last output before timeout follows): last words"
	})
}

func tcpCheck(t *testing.T, c consul) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	c.register(t, &api.AgentServiceRegistration{ID: "tc-1", Name: "tc", Port: 1, Check: &api.AgentServiceCheck{TCP: l.Addr().String(), Interval: "1s", Timeout: "1s"}})
	passing := func() bool { return only(t, c.health(t, "tc", 0)).Checks.AggregatedStatus() == "passing" }
	eventually(t, "the check passes while somebody listens", passing)
	l.Close()
	eventually(t, "the check fails when nobody does", func() bool { return !passing() })
}

// answerFields compares the shape of the double's answer with what the case
// holds of the real one: a field that is missing, or of another kind, is an error on either side.
func answerFields(t *testing.T, c consul) {
	c.register(t, &api.AgentServiceRegistration{ID: "af-1", Name: "af", Port: 1, Check: &api.AgentServiceCheck{TTL: "1m"}})
	_, _, body := c.raw(t, "GET", "/v1/health/service/af", "")
	var entries []map[string]json.RawMessage
	must(t, json.Unmarshal([]byte(body), &entries))
	var node, service map[string]any
	var checks []map[string]any
	must(t, json.Unmarshal(entries[0]["Node"], &node))
	must(t, json.Unmarshal(entries[0]["Service"], &service))
	must(t, json.Unmarshal(entries[0]["Checks"], &checks))
	for _, tc := range []struct {
		what   string
		object map[string]any
		want   map[string]string
	}{
		{"Node", node, map[string]string{"ID": "string", "Node": "string", "Address": "string", "Datacenter": "string", "CreateIndex": "float64", "ModifyIndex": "float64"}},
		{"Service", service, map[string]string{"ID": "string", "Service": "string", "Tags": "[]interface {}", "Address": "string", "Port": "float64", "Weights": "map[string]interface {}", "Meta": "<nil>", "EnableTagOverride": "bool", "CreateIndex": "float64", "ModifyIndex": "float64"}},
		{"Checks[0]", checks[0], map[string]string{"Node": "string", "CheckID": "string", "Name": "string", "Status": "string", "Notes": "string", "Output": "string", "ServiceID": "string", "ServiceName": "string", "ServiceTags": "[]interface {}", "Type": "string", "CreateIndex": "float64", "ModifyIndex": "float64"}},
	} {
		for field, kind := range tc.want {
			if got := fmt.Sprintf("%T", tc.object[field]); got != kind {
				t.Errorf("%s.%s: got a %s; want a %s", tc.what, field, got, kind)
			}
		}
	}
}

func answerHeaders(t *testing.T, c consul) {
	c.register(t, &api.AgentServiceRegistration{ID: "ah-1", Name: "ah", Port: 1})
	for query, consistency := range map[string]string{"": "leader", "?stale": "stale", "?consistent": "consistent", "?near=_agent": "leader"} {
		_, h, _ := c.raw(t, "GET", "/v1/health/service/ah"+query, "")
		for name, want := range map[string]string{
			"X-Consul-KnownLeader": "true", "X-Consul-LastContact": "0", "X-Consul-Query-Backend": "blocking-query",
			"X-Consul-Default-ACL-Policy": "allow", "X-Consul-Effective-Consistency": consistency, "Content-Type": "application/json",
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s of a query with %q: got %q; want %q", name, query, got, want)
			}
		}
		if h.Get("X-Consul-Index") == "" || h.Get("X-Consul-Index") == "0" {
			t.Errorf("X-Consul-Index of a query with %q: got %q; want a number above 0", query, h.Get("X-Consul-Index"))
		}
	}
}
