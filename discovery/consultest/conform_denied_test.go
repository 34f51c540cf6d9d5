package consultest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/consultest"
	"github.com/rosproxy/rosproxy/discovery/consultest/realconsul"
)

// keyAccess is a Consul with a token whose right to the keys below service/ comes and goes.
type keyAccess struct {
	all, reader consul // clients, one with every right
	token       string // the reader's
	deny, allow func()
}

// TestDeniedKeyIsNotAbsent: a key that a token may not read is 403, there or
// not; a list leaves it out; a poll that waits keeps the rights it began with;
// and the catalog stays readable throughout.
func TestDeniedKeyIsNotAbsent(t *testing.T) {
	run := func(t *testing.T, a keyAccess) {
		a.all.put(t, "service/pg/leader", "pg1")
		a.all.put(t, "other", "1")
		code := func(path string) int {
			code, _, _ := a.reader.raw(t, "GET", path+"token="+a.token, "")
			return code
		}
		see := func(when string, leader, absent int) {
			t.Helper()
			got := fmt.Sprint(code("/v1/kv/service/pg/leader?"), code("/v1/kv/service/pg/leader?consistent&"), code("/v1/kv/service/pg/absent?"),
				code("/v1/kv/other?"), code("/v1/health/service/batman?"))
			if want := fmt.Sprint(leader, leader, absent, 200, 200); got != want {
				t.Errorf("%s: leader, the same consistent, absent, another key, service: got %s; want %s", when, got, want)
			}
		}
		see("allowed", 200, 404)
		_, index := a.reader.keyNow(t, "service/pg/leader")
		got := a.reader.pollKey("service/pg/leader", index, 10*testTimeout)
		asleep(t, got)
		a.deny()
		see("denied", 403, 403)
		if _, _, err := a.reader.KV().Get("service/pg/leader", nil); err == nil || !strings.Contains(err.Error(), "lacks permission 'key:read' on \"service/pg/leader\"") {
			t.Errorf("error: got %v; want that the token lacks key:read", err)
		}
		keys, _, err := a.reader.KV().List("", nil)
		if err != nil || len(keys) != 1 || keys[0].Key != "other" {
			t.Errorf("list: got %d keys, %v; want only the one that may be read", len(keys), err)
		}
		status, h, _ := a.reader.raw(t, "GET", "/v1/kv/service/?recurse&token="+a.token, "")
		if status != http.StatusNotFound || h.Get("X-Consul-Results-Filtered-By-ACLs") != "true" {
			t.Errorf("list of what is denied: got %d, filtered %q; want 404, true", status, h.Get("X-Consul-Results-Filtered-By-ACLs"))
		}
		if _, err := a.reader.KV().Put(&api.KVPair{Key: "service/pg/leader"}, nil); err == nil {
			t.Error("write: got no error; want 403")
		}
		asleep(t, got)
		a.all.put(t, "service/pg/leader", "pg2")
		if k, _ := answered(t, got); k == nil || string(k.Value) != "pg2" {
			t.Errorf("poll that began with the right: got %+v; want the change", k)
		}
		a.allow()
		see("allowed again", 200, 404)
	}
	t.Run("double", func(t *testing.T) {
		s := consultest.NewServer()
		defer s.Close()
		c := consul{s.Client(), s.URL, "consultest"}
		reader := client(t, s.Addr, "reader")
		undo := func() {}
		run(t, keyAccess{c, consul{reader, s.URL, "consultest"}, "reader",
			func() { undo = s.DenyKeys("service/", "reader") }, func() { undo() }})
	})
	t.Run("consul", func(t *testing.T) {
		a := realconsul.StartDev(t, realconsul.ACL())
		const other = realconsul.ReadRules + ` key "other" { policy = "read" }`
		const all = other + ` key_prefix "service/" { policy = "read" }`
		token := a.CreateToken(all)
		policy := token.Policies[0].ID
		rules := func(rules string) func() {
			return func() {
				p, _, err := a.Client().ACL().PolicyRead(policy, nil)
				must(t, err)
				p.Rules = rules
				_, _, err = a.Client().ACL().PolicyUpdate(p, nil)
				must(t, err)
			}
		}
		run(t, keyAccess{consul{a.Client(), a.URL, a.Node}, consul{a.ClientWithToken(token.SecretID), a.URL, a.Node}, token.SecretID,
			rules(other), rules(all)})
	})
}

// client makes an official client with a token.
func client(t *testing.T, addr, token string) *api.Client {
	t.Helper()
	c, err := api.NewClient(&api.Config{Address: addr, Token: token, Transport: &http.Transport{DisableKeepAlives: true}})
	must(t, err)
	return c
}
