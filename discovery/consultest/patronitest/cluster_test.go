package patronitest_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"go.uber.org/goleak"

	"github.com/rosproxy/rosproxy/discovery/consultest"
	"github.com/rosproxy/rosproxy/discovery/consultest/patronitest"
	"github.com/rosproxy/rosproxy/discovery/consultest/realconsul"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testTimeout is how long anything may take that must happen at all.
const testTimeout = 30 * time.Second

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pair is a cluster of pg1, who leads, and pg2.
type pair struct {
	*patronitest.Cluster
	kv       *api.KV
	pg1, pg2 *patronitest.Member
}

func newPair(t *testing.T, client *api.Client) pair {
	t.Helper()
	p := pair{Cluster: patronitest.New(client, "batman"), kv: client.KV()}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	var err error
	p.pg1, err = p.Add("pg1", "postgres://127.0.0.1:5432/postgres")
	must(t, err)
	p.pg2, err = p.Add("pg2", "postgres://127.0.0.1:5433/postgres")
	must(t, err)
	must(t, p.Elect("pg1"))
	must(t, p.Promote("pg1"))
	return p
}

// member is the entry of a member; nil: there is none.
func (p pair) member(t *testing.T, name string) map[string]any {
	t.Helper()
	k, _, err := p.kv.Get("service/batman/members/"+name, nil)
	must(t, err)
	if k == nil {
		return nil
	}
	if k.Session == "" {
		t.Errorf("entry of %s: got no session; want one", name)
	}
	var m map[string]any
	must(t, json.Unmarshal(k.Value, &m))
	return m
}

// holder is who holds the leader's key; empty: nobody.
func (p pair) holder(t *testing.T) string {
	t.Helper()
	k, _, err := p.kv.Get(p.LeaderKey(), nil)
	must(t, err)
	if k == nil || k.Session == "" {
		return ""
	}
	return string(k.Value)
}

// get asks a member's REST API over a connection of its own.
func get(t *testing.T, url string) (int, string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	must(t, err)
	r.Close = true
	a, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return 0, "", err
	}
	defer a.Body.Close()
	body, err := io.ReadAll(io.LimitReader(a.Body, 1<<20))
	return a.StatusCode, string(body), err
}

// TestFailoverIsInConsulAsPatroniWritesIt runs against the double of Consul and the real one.
func TestFailoverIsInConsulAsPatroniWritesIt(t *testing.T) {
	run := func(t *testing.T, client *api.Client) {
		p := newPair(t, client)
		must(t, p.Elect("pg1")) // again is harmless
		if err := p.Elect("pg2"); err == nil || !strings.Contains(err.Error(), "pg1 holds the lock") {
			t.Errorf("elect while another leads: got %v; want that pg1 holds the lock", err)
		}
		before := p.member(t, "pg1")
		if before["role"] != "master" || before["conn_url"] != "postgres://127.0.0.1:5432/postgres" || before["api_url"] != "http://"+p.pg1.Addr+"/patroni" ||
			before["state"] != "running" || before["timeline"] != 2.0 {
			t.Errorf("entry of pg1: got %v; want a running master of timeline 2 with its addresses", before)
		}
		p.pg1.Stop()
		if got := p.holder(t); got != "pg1" {
			t.Errorf("holder while the dead leader's TTL runs: got %q; want pg1", got)
		}
		must(t, p.LoseLock())
		if got := p.holder(t); got != "" || p.member(t, "pg1") != nil {
			t.Errorf("after the TTL: got holder %q, entry %v; want none of both", got, p.member(t, "pg1"))
		}
		must(t, p.Elect("pg2"))
		if got := p.member(t, "pg2")["role"]; got != "replica" || p.holder(t) != "pg2" {
			t.Errorf("elected: got role %v, holder %q; want replica, pg2", got, p.holder(t))
		}
		must(t, p.Promote("pg2"))
		if got := p.member(t, "pg2")["role"]; got != "master" {
			t.Errorf("promoted: got role %v; want master", got)
		}
		must(t, p.pg1.Start())
		if got := p.member(t, "pg1"); got["role"] != "replica" {
			t.Errorf("the old leader, back: got %v; want a replica", got)
		}
		must(t, p.LoseLock())
		if got := p.member(t, "pg2"); got["role"] != "replica" || p.holder(t) != "" {
			t.Errorf("lock lost by a leader that lives: got %v, holder %q; want a replica, nobody", got, p.holder(t))
		}
		must(t, p.Elect("pg2")) // the same holder, with a new session
	}
	t.Run("double", func(t *testing.T) {
		s := consultest.NewServer()
		t.Cleanup(s.Close)
		run(t, s.Client())
	})
	t.Run("consul", func(t *testing.T) { run(t, realconsul.StartDev(t).Client()) })
}

func TestEntriesSayWhatTheTestSays(t *testing.T) {
	s := consultest.NewServer()
	t.Cleanup(s.Close)
	p := newPair(t, s.Client())
	must(t, p.SetConnURL("pg1", "postgres://127.0.0.2:1,127.0.0.3:2/postgres"))
	must(t, p.SetAPIURL("pg1", "https://127.0.0.9:8008/patroni"))
	must(t, p.Pause(true))
	if got := p.member(t, "pg1"); got["conn_url"] != "postgres://127.0.0.2:1,127.0.0.3:2/postgres" || got["api_url"] != "https://127.0.0.9:8008/patroni" || got["pause"] != true {
		t.Errorf("entry: got %v; want the addresses that were set, and pause", got)
	}
	must(t, p.Pause(false))
	was, leader := p.member(t, "pg2"), s.Holder(p.LeaderKey())
	must(t, p.Turn())
	now := p.member(t, "pg2")
	if was["pause"] != nil || now["xlog_location"] == was["xlog_location"] || s.Holder(p.LeaderKey()) != leader {
		t.Errorf("a turn later: got %v after %v; want another WAL position, and the lock where it was", now, was)
	}
	if err := p.Promote("pg3"); err == nil || !strings.Contains(err.Error(), "pg3") {
		t.Errorf("promote nobody: got %v; want an error that names pg3", err)
	}
	if _, err := p.Add("pg1", ""); err == nil {
		t.Error("add a member twice: got no error; want one")
	}
}

func TestPathsAnswerByTheLock(t *testing.T) {
	s := consultest.NewServer()
	t.Cleanup(s.Close)
	p := newPair(t, s.Client())
	for _, tc := range []struct {
		path     string
		pg1, pg2 int
	}{{"/primary", 200, 503}, {"/", 200, 503}, {"/leader", 200, 503}, {"/replica", 503, 200}, {"/health", 200, 200}, {"/other", 503, 503}} {
		for m, want := range map[*patronitest.Member]int{p.pg1: tc.pg1, p.pg2: tc.pg2} {
			if code, _, err := get(t, "http://"+m.Addr+tc.path); code != want || err != nil {
				t.Errorf("%s of %s: got %d, %v; want %d", tc.path, m.Name, code, err, want)
			}
		}
	}
	if got := p.pg1.Probes(); got != 1 {
		t.Errorf("probes: got %d; want 1", got)
	}
}

func TestBrokenAPI(t *testing.T) {
	s := consultest.NewServer()
	t.Cleanup(s.Close)
	p := newPair(t, s.Client())
	url := "http://" + p.pg1.Addr + "/primary"
	for name, tc := range map[string]struct {
		h    http.Handler
		code int
		size int
	}{
		"status":   {patronitest.Status(500, "no"), 500, 2},
		"huge":     {patronitest.Huge(1 << 30), 200, 1 << 20},
		"redirect": {patronitest.Redirect("http://127.0.0.1:1/"), 302, -1},
	} {
		undo := p.pg1.Break(tc.h)
		if code, body, err := get(t, url); code != tc.code || err != nil || (tc.size >= 0 && len(body) != tc.size) {
			t.Errorf("%s: got %d, %d bytes, %v; want %d, %d bytes", name, code, len(body), err, tc.code, tc.size)
		}
		undo()
		undo() // is harmless
		if code, _, err := get(t, url); code != 200 || err != nil {
			t.Errorf("after %s: got %d, %v; want 200", name, code, err)
		}
	}
	if got := p.pg1.Probes(); got != 6 {
		t.Errorf("probes, broken ones too: got %d; want 6", got)
	}
}

func TestStopEndsWhatHangsAndDrips(t *testing.T) {
	s := consultest.NewServer()
	t.Cleanup(s.Close)
	p := newPair(t, s.Client())
	for name, h := range map[string]http.Handler{"hang": patronitest.Hang(), "drip": patronitest.Drip(time.Millisecond)} {
		undo := p.pg1.Break(h)
		was := p.pg1.Probes()
		ended := make(chan error, 1)
		go func() {
			_, _, err := get(t, "http://"+p.pg1.Addr+"/primary")
			ended <- err
		}()
		for p.pg1.Probes() == was {
			time.Sleep(time.Millisecond)
		}
		select {
		case err := <-ended:
			t.Errorf("%s: got an end, %v; want none", name, err)
		case <-time.After(100 * time.Millisecond):
		}
		p.pg1.Stop()
		p.pg1.Stop() // is harmless
		if err := <-ended; err == nil {
			t.Errorf("%s: got no error; want one", name)
		}
		if _, _, err := get(t, "http://"+p.pg1.Addr+"/primary"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("stopped: got %v; want %v", err, syscall.ECONNREFUSED)
		}
		undo()
		must(t, p.pg1.Start())
		if code, _, err := get(t, "http://"+p.pg1.Addr+"/primary"); code != 200 || err != nil {
			t.Errorf("started again, its session alive: got %d, %v; want 200", code, err)
		}
	}
}

func TestTLSIsTrustedByItsCertificateOnly(t *testing.T) {
	s := consultest.NewServer()
	t.Cleanup(s.Close)
	p := newPair(t, s.Client())
	m, err := p.AddTLS("pg3", "postgres://127.0.0.1:5434/postgres")
	must(t, err)
	must(t, p.LoseLock())
	must(t, p.Elect("pg3"))
	url := "https://" + m.Addr + "/primary"
	if got := p.member(t, "pg3")["api_url"]; got != "https://"+m.Addr+"/patroni" {
		t.Errorf("api_url: got %v; want https at %s", got, m.Addr)
	}
	var unknown x509.UnknownAuthorityError
	if _, _, err := get(t, url); !errors.As(err, &unknown) {
		t.Errorf("as the system trusts it: got %v; want %T", err, unknown)
	}
	roots := x509.NewCertPool()
	roots.AddCert(m.Certificate())
	web := http.Client{Timeout: testTimeout, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots}}}
	a, err := web.Get(url)
	must(t, err)
	a.Body.Close()
	if a.StatusCode != 200 {
		t.Errorf("with its certificate: got %d; want 200", a.StatusCode)
	}
}
