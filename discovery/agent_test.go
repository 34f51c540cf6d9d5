package discovery

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// capture is a server that answers an empty list and keeps the last request.
func capture(t *testing.T) (*httptest.Server, func() *http.Request) {
	var last atomic.Pointer[http.Request]
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		last.Store(r)
		w.Header().Set("X-Consul-Index", "7")
		fmt.Fprint(w, "[]")
	}))
	t.Cleanup(s.Close)
	return s, last.Load
}

// askOnce puts one consistent read for label "default" to the first address.
func askOnce(t *testing.T, c Config) answer {
	t.Helper()
	s, err := NewConsul(c, nopLog)
	if err != nil {
		t.Fatal(err)
	}
	defer s.agents[0].CloseIdleConnections()
	return s.agents[0].ask(t.Context(), query{question: s.labels[0].main.watch.question, consistent: true, timeout: testTimeout})
}

func TestRequestCarriesWhatConsulsVariablesSay(t *testing.T) {
	s, last := capture(t)
	t.Setenv("CONSUL_HTTP_TOKEN", "t0ken")
	t.Setenv("CONSUL_HTTP_AUTH", "me:pass:word")
	t.Setenv("CONSUL_NAMESPACE", "ns1")
	t.Setenv("CONSUL_PARTITION", "part1")
	c := quick(s.URL + "/gateway/")
	c.Service, c.Datacenter, c.Tags = "sync ü x", "dc2", []string{"role=master", "a&b"}
	if a := askOnce(t, c); a.err != nil || a.kind != none || a.index != 7 {
		t.Fatalf("got %+v; want none at index 7", a)
	}
	r := last()
	if r.URL.EscapedPath() != "/gateway/v1/health/service/sync%20%C3%BC%20x" {
		t.Errorf("got path %s; want the service escaped, behind the prefix", r.URL.EscapedPath())
	}
	q := r.URL.Query()
	for name, want := range map[string]string{"dc": "dc2", "ns": "ns1", "partition": "part1", "consistent": "", "tag": "a&b,role=master"} {
		if got := strings.Join(q[name], ","); got != want || !q.Has(name) {
			t.Errorf("got %s=%q; want %q", name, got, want)
		}
	}
	if q.Has("passing") || q.Has("index") || q.Has("wait") || q.Has("near") || q.Has("stale") {
		t.Errorf("got %v; want a read that does not block, of failing instances too", q)
	}
	user, password, _ := r.BasicAuth()
	if r.Header.Get("X-Consul-Token") != "t0ken" || user != "me" || password != "pass:word" {
		t.Errorf("got headers %v; want token and user", r.Header)
	}
}

func TestAnswerTimesDoNotFollowTheWallClock(t *testing.T) {
	s, _ := capture(t)
	a := askOnce(t, quick(s.URL))
	for _, at := range []time.Time{a.began, a.arrived} {
		if !strings.Contains(at.String(), "m=+") { // the monotonic reading, which a clock jump does not touch
			t.Errorf("got time %v; want one with a monotonic reading", at)
		}
	}
}
