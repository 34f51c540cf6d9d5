package admin

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// TestHostThatAPageMayHaveChosenIsRefusedWithoutAToken: a page whose name was
// made to resolve to this machine is of the same origin as the endpoints.
func TestHostThatAPageMayHaveChosenIsRefusedWithoutAToken(t *testing.T) {
	for _, c := range []struct {
		host    string
		refused bool
	}{
		{"", false}, // HTTP/1.0; every browser sends one
		{"localhost", false},
		{"localhost:7802", false},
		{"LocalHost.", false},
		{"rosproxy.localhost:7802", false},
		{"127.0.0.1:7802", false},
		{"10.0.0.1", false},
		{"[::1]:7802", false},
		{"[::1]", false},
		{"proxy-1.Example:7802", false}, // configured
		{"proxy-1.example.", false},
		{"evil.example", true},
		{"evil.example:7802", true},
		{"localhost.evil.example", true},
		{"127.0.0.1.evil.example", true},
		{"evil-localhost", true},
		{"proxy-1.example.evil.example", true},
		{"127.0.0.1:7802:evil", true},
	} {
		a, data, _ := newAdmin(t)
		a.guard.hosts = []string{"proxy-1.example"}
		for _, target := range []string{"GET /status", "GET /metrics", "GET /connections", "DELETE /connections", "POST /drain", "POST /readyz"} {
			method, path, _ := strings.Cut(target, " ")
			r := httptest.NewRequest(method, path, nil)
			r.Host = c.host
			w := httptest.NewRecorder()
			a.handler().ServeHTTP(w, r)
			if refused := w.Code == http.StatusForbidden; refused != c.refused {
				t.Errorf("%s with Host %q: got %d; want refused %t", target, c.host, w.Code, c.refused)
			} else if refused {
				wantError(t, w, 403, c.host, "--admin-host")
			}
		}
		if c.refused && (len(data.killed) > 0 || a.lifecycle.Draining()) {
			t.Errorf("Host %q: a refused request had an effect", c.host)
		}
	}
}

func TestAnyHostPassesWhereNoPageCanAskOrLearn(t *testing.T) {
	ask := func(a *Server, ctx context.Context, path string) int {
		r := httptest.NewRequest("GET", path, nil).WithContext(ctx)
		r.Host = "any.example"
		w := httptest.NewRecorder()
		a.handler().ServeHTTP(w, r)
		return w.Code
	}
	a, _, _ := newAdmin(t)
	for _, path := range []string{"/healthz", "/readyz", "/health"} { // balancers send what they like
		if got := ask(a, t.Context(), path); got != 200 {
			t.Errorf("%s: got %d; want 200", path, got)
		}
	}
	overUnix := context.WithValue(t.Context(), http.LocalAddrContextKey, net.Addr(&net.UnixAddr{Name: "/a", Net: "unix"}))
	if got := ask(a, overUnix, "/status"); got != 200 {
		t.Errorf("over a unix socket: got %d; want 200", got)
	}
	a.guard.tokenFile = tokenFile(t, "secret")
	if got := ask(a, t.Context(), "/status"); got != 200 {
		t.Errorf("with a token: got %d; want 200", got)
	}
}

func TestRefusedRequestsAreCountedAndLoggedOnceASecondAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, _ := newAdmin(t)
		a.guard.tokenFile = tokenFile(t, "secret")
		var log logged
		a.refusals.log = zerolog.New(&log)
		handler := a.handler()
		wrong := func() {
			r := httptest.NewRequest("POST", "/drain"+strings.Repeat("x", 10_000), nil)
			r.RemoteAddr = "192.0.2.1:7"
			r.Header.Set("Authorization", "Bearer wrong")
			handler.ServeHTTP(httptest.NewRecorder(), r)
		}
		for range 100 {
			wrong()
		}
		time.Sleep(refusalEvery)
		wrong()
		lines := log.lines(t, "admin request refused")
		if len(lines) != 2 || lines[0]["refused"] != 1.0 || lines[1]["refused"] != 100.0 {
			t.Fatalf("got lines %v; want one of 1, and a second later one of 100", lines)
		}
		if l := lines[0]; l["peer"] != "192.0.2.1:7" || l["error"] != "wrong bearer token" || l["method"] != "POST" || len(l["path"].(string)) > maxLogged {
			t.Errorf("got %v; want who asked for what, cut short", l)
		}
		if strings.Contains(log.b.String(), "secret") {
			t.Error("got the token in the log")
		}
		ask(a, "POST", "/drain", "Origin: https://evil.example")
		body := ask(a, "GET", "/metrics").Body.String()
		for _, line := range []string{
			`rosproxy_admin_refused_total{reason="token"} 101`,
			`rosproxy_admin_refused_total{reason="host"} 0`,
			`rosproxy_admin_refused_total{reason="cross_site"} 1`,
		} {
			if !strings.Contains(body, line+"\n") {
				t.Errorf("no line %s", line)
			}
		}
	})
}
