package admin

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// FuzzAdminQuery feeds arbitrary requests: every answer has a code that is
// documented, and every error is JSON.
func FuzzAdminQuery(f *testing.F) {
	f.Add("GET", "/status", "", "")
	f.Add("GET", "/connections", "label=default&limit=3", "Bearer secret")
	f.Add("DELETE", "/connections", "label=x", "Bearer secret")
	f.Add("POST", "/drain", "grace=1s&timeout=2s&exit=false", "Bearer secret")
	f.Add("DELETE", "/drain", "", "Bearer secret")
	f.Add("POST", "/drain", "grace=%zz;&", "bearer  ")
	f.Add("GET", "/readyz", "label=default&hold=8s&draining=404&x;y", "")
	f.Add("GET", "/health", "label=nobody&hold=-1h", "")
	f.Add("BREW", "/../drain//", "?", "Basic x")
	a, _, _ := newAdmin(f)
	a.guard.tokenFile = tokenFile(f, "secret")
	handler := a.handler()
	f.Fuzz(func(t *testing.T, method, path, query, authorization string) {
		r := &http.Request{
			Method: method, Host: "h", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			URL:    &url.URL{Path: path, RawQuery: query},
			Header: http.Header{"Authorization": {authorization}},
			Body:   http.NoBody,
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r.WithContext(t.Context()))
		if !slices.Contains([]int{200, 202, 400, 401, 404, 405, 409, 503}, w.Code) {
			t.Fatalf("%s %s?%s: got %d", method, path, query, w.Code)
		}
		var e struct{ Error, Status string }
		err := json.Unmarshal(w.Body.Bytes(), &e)
		if w.Code >= 400 && (err != nil || e.Error == "" && e.Status != "DOWN") { // DOWN: a health answer, whose code balancers heed
			t.Errorf("%s %s?%s: got %d %q; want an error in JSON", method, path, query, w.Code, w.Body)
		}
		if w.Code == 202 && authorizationIsWrong(authorization) {
			t.Errorf("got %d with %q; want it refused", w.Code, authorization)
		}
	})
}

func authorizationIsWrong(s string) bool { return !strings.HasSuffix(strings.TrimSpace(s), "secret") }
