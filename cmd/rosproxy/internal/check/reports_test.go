package check

import (
	"net/http"
	"testing"

	"github.com/rosproxy/rosproxy/discovery/consultest"
)

// TestCheckTriesFenceReportsAndLeavesNothing: rights are there when they work.
func TestCheckTriesFenceReportsAndLeavesNothing(t *testing.T) {
	const prefix = "rosproxy/fence"
	method := func(m string) func(*http.Request) bool { return func(r *http.Request) bool { return r.Method == m } }
	forbidden := consultest.Status(http.StatusForbidden, "Permission denied").On("/v1/kv/" + prefix)
	for name, c := range map[string]struct {
		fault func(s *consultest.Server)
		want  string
	}{
		"all well":              {func(*consultest.Server) {}, ""},
		"the token may do none": {func(s *consultest.Server) { s.DenyKeys(prefix) }, "write a report: denied: "},
		"it may not write":      {func(s *consultest.Server) { s.Inject(forbidden.When(method("PUT"))) }, "write a report: denied: "},
		"it may not read":       {func(s *consultest.Server) { s.Inject(forbidden.When(method("GET"))) }, "read a report: denied: "},
		"it may not delete":     {func(s *consultest.Server) { s.Inject(forbidden.When(method("DELETE"))) }, "take a report away: denied: "},
		"it may not list": {func(s *consultest.Server) {
			s.Inject(forbidden.When(func(r *http.Request) bool { return r.URL.Query().Has("recurse") }))
		}, "list the reports, as await-fence does: denied: "},
	} {
		t.Run(name, func(t *testing.T) {
			consul := startConsul(t)
			_, port := startMaster(t)
			consul.Register(consultest.Service{ID: "sync-1", Name: "sync", Address: "127.0.0.1", Port: port, Tags: tags})
			c.fault(consul)
			ok, out := checked(t, "--consul-addr="+consul.Addr, "--fence-report="+prefix, "--instance=p1")
			line := "fence reports below " + prefix + " at consul " + consul.Addr + ": "
			if ok != (c.want == "") {
				t.Errorf("got %t; want %t\n%s", ok, !ok, out)
			}
			if c.want == "" {
				wantLine(t, out, "ok   "+line+"can be written, read and taken away")
				wantLine(t, out, "ok   configuration: listener default on ")
			} else {
				wantLine(t, out, "FAIL "+line+c.want)
			}
			pairs, _, err := consul.Client().KV().List(prefix+"/", nil)
			if err == nil && len(pairs) != 0 && name != "it may not read" && name != "it may not delete" {
				t.Errorf("got %d entries; want none left", len(pairs))
			}
			for _, p := range pairs {
				t.Logf("left: %s %s", p.Key, p.Value)
			}
		})
	}
}
