package consultest_test

import (
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/consultest"
	"github.com/rosproxy/rosproxy/discovery/consultest/realconsul"
)

// TestStreamingIsAnnouncedOnlyWhereItIsUsed: blocking queries without near.
func TestStreamingIsAnnouncedOnlyWhereItIsUsed(t *testing.T) {
	run := func(t *testing.T, c consul) {
		c.register(t, &api.AgentServiceRegistration{ID: "st-1", Name: "st", Port: 1, Tags: []string{"a"}})
		for query, want := range map[string][2]string{
			"":                     {"blocking-query", "true"},
			"?index=1":             {"streaming", "false"},
			"?index=1&tag=a":       {"streaming", "false"},
			"?index=1&near=_agent": {"blocking-query", "true"},
		} {
			_, h, body := c.raw(t, "GET", "/v1/health/service/st"+query, "")
			if got := [2]string{h.Get("X-Consul-Query-Backend"), h.Get("X-Consul-KnownLeader")}; got != want {
				t.Errorf("backend and known leader with %q: got %q; want %q", query, got, want)
			}
			if len(body) < 10 || h.Get("X-Consul-Index") == "" {
				t.Errorf("answer with %q: got %q, index %q; want an instance", query, body, h.Get("X-Consul-Index"))
			}
		}
		wakesOnTagChange(t, c)
	}
	t.Run("double", func(t *testing.T) {
		s, err := consultest.Listen(consultest.Config{Streaming: true})
		must(t, err)
		defer s.Close()
		run(t, consul{s.Client(), s.URL, "consultest"})
	})
	t.Run("consul", func(t *testing.T) {
		a := realconsul.StartDev(t)
		run(t, consul{a.Client(), a.URL, a.Node})
	})
}

// access is a Consul with access control: who may do all, and who may see no node.
type access struct {
	consul
	all, blind string
	revoke     func()
}

func TestTokensDecideWhatIsSeen(t *testing.T) {
	run := func(t *testing.T, a access) {
		type seen struct {
			code             int
			empty            bool
			filtered, policy string
		}
		look := func(token string) seen {
			code, h, body := a.raw(t, "GET", "/v1/health/service/ac?near=_agent&token="+token, "")
			return seen{code, body == "[]" || body == "[]\n", h.Get("X-Consul-Results-Filtered-By-ACLs"), h.Get("X-Consul-Default-ACL-Policy")}
		}
		for _, tc := range []struct {
			who, token string
			want       seen
		}{
			{"all", a.all, seen{200, false, "", "deny"}},
			{"blind", a.blind, seen{200, true, "true", "deny"}},
			{"nobody", "", seen{200, true, "", "deny"}},
			{"unknown", "22222222-2222-2222-2222-222222222222", seen{403, false, "", "deny"}},
		} {
			if got := look(tc.token); got != tc.want {
				t.Errorf("seen by %s: got %+v; want %+v", tc.who, got, tc.want)
			}
		}
		a.revoke()
		if got := look(a.blind); got.code != 403 {
			t.Errorf("with a revoked token: got %d; want 403", got.code)
		}
		if code, _, _ := a.raw(t, "PUT", "/v1/agent/service/register", `{"Name":"x"}`); code != 403 {
			t.Errorf("registration by nobody: got %d; want 403", code)
		}
	}
	t.Run("double", func(t *testing.T) {
		s := consultest.NewServer()
		defer s.Close()
		s.Register(consultest.Service{ID: "ac-1", Name: "ac", Port: 1})
		s.SetToken("all", consultest.AllRights)
		s.SetToken("blind", consultest.NoRights)
		run(t, access{consul{s.Client(), s.URL, "consultest"}, "all", "blind", func() { s.RevokeToken("blind") }})
	})
	t.Run("consul", func(t *testing.T) {
		a := realconsul.StartDev(t, realconsul.ACL())
		c := consul{a.Client(), a.URL, a.Node}
		c.register(t, &api.AgentServiceRegistration{ID: "ac-1", Name: "ac", Port: 1})
		blind := a.CreateToken(realconsul.ServiceOnlyRules)
		run(t, access{c, a.Token, blind.SecretID, func() { a.RevokeToken(blind) }})
	})
}
