package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// FuzzFlags feeds arbitrary command lines and environments, both split at
// line ends: either they make a configuration, or an error of one line.
func FuzzFlags(f *testing.F) {
	f.Add("", "")
	f.Add("--listen\na=:1\n--static-master=h:1", "ROSPROXY_HOLD_TIMEOUT=1s")
	f.Add("check\n--drop=fin\n--shards\n3", "ROSPROXY_LISTEN=a=:1,b=[::1]:2\nROSPROXY_TAG=,")
	f.Add("run\n--help", "ROSPROXY_=\nROSPROXY_X=1")
	f.Add("--admin-listen=unix:/x\n--\n-h\n--log-connections=no", "=\n==")
	f.Add("--hold-timeout\n-1s\n--consul-addr\nunix:///x", "ROSPROXY_MAX_CONNS=9999999999999999999")
	f.Fuzz(func(t *testing.T, args, env string) {
		i, err := parseArgs(strings.Split(args, "\n"), strings.Split(env, "\n"), io.Discard)
		if err == nil && (i.command == commandRun || i.command == commandCheck) {
			var c Config
			if c, err = loadConfig(i.settings); err == nil {
				wantSound(t, c)
			}
		}
		if err != nil && (err.Error() == "" || strings.ContainsFunc(oneLine(err.Error()), unicode.IsControl)) {
			t.Errorf("got error %q; want one line", err)
		}
	})
}

// wantSound checks what the rest of the program takes for granted.
func wantSound(t *testing.T, c Config) {
	labels := map[string]bool{}
	for i, l := range c.Proxy.Listeners {
		if l.Label == "" || labels[l.Label] || c.Discovery.Labels[i].Name != l.Label {
			t.Errorf("got label %q of %+v; want it named once, the same on both sides", l.Label, c)
		}
		labels[l.Label] = true
		if c.Static != nil && c.Static[l.Label] == "" {
			t.Errorf("got no static master of %q; want one", l.Label)
		}
	}
	if len(labels) == 0 || c.Discovery.Service == "" || len(c.Discovery.Tags) == 0 || c.Admin.Address == "" {
		t.Errorf("got %+v; want listeners, a service, tags and an admin address", c)
	}
}

// FuzzAdminQuery feeds arbitrary requests: every answer has a code that is
// documented, and every error is JSON.
func FuzzAdminQuery(f *testing.F) {
	f.Add("GET", "/status", "", "")
	f.Add("GET", "/connections", "label=default&limit=3", "Bearer secret")
	f.Add("DELETE", "/connections", "label=x", "Bearer secret")
	f.Add("POST", "/drain", "grace=1s&timeout=2s&exit=false", "Bearer secret")
	f.Add("DELETE", "/drain", "", "Bearer secret")
	f.Add("POST", "/drain", "grace=%zz;&", "bearer  ")
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
		var e struct{ Error string }
		if w.Code >= 400 && w.Code != 503 && (json.Unmarshal(w.Body.Bytes(), &e) != nil || e.Error == "") {
			t.Errorf("%s %s?%s: got %d %q; want an error in JSON", method, path, query, w.Code, w.Body)
		}
		if w.Code == 202 && authorizationIsWrong(authorization) {
			t.Errorf("got %d with %q; want it refused", w.Code, authorization)
		}
	})
}

func authorizationIsWrong(s string) bool { return !strings.HasSuffix(strings.TrimSpace(s), "secret") }
