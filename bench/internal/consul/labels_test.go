package consul

import (
	"bytes"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

func startServer(t *testing.T) *Agent {
	t.Helper()
	a, err := StartServer(t.Context(), binary(t), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Stop)
	return a
}

// get asks the agent at an address for path.
func get(t *testing.T, at, path string) []byte {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + at + path)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: got %s %s, %v", path, answer.Status, body, err)
	}
	return body
}

// What is watched has to be what rosproxy is told, and a relay must not change it.
func TestElectionOfOneLabelAmongMany(t *testing.T) {
	a := startServer(t)
	labels := Labels("sync-20", 20)
	if err := a.Fill(t.Context(), labels); err != nil {
		t.Fatal(err)
	}
	const path = "/v1/health/service/sync-20"
	if body := get(t, a.HTTP, path+"?tag=role=master&passing"); bytes.Count(body, []byte(`"label=label-`)) != 2*20 || bytes.Contains(body, []byte("\n    ")) {
		t.Errorf("masters: got %.300s ...; want 20, each with its label in service and check, and not indented", body)
	}
	w, err := a.Watch(t.Context(), path, url.Values{"tag": {"role=master"}})
	if err != nil {
		t.Fatal(err)
	}
	found := w.Until(func(a Answer) bool { return bytes.Contains(a.Body, []byte(`"sync-20-new"`)) })
	next := Candidate{ID: "sync-20-new", Address: netip.MustParseAddrPort("127.0.1.1:7801"), Of: &labels[7]}
	if err := a.Register(t.Context(), next, true); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-found:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the watch has not seen the new master")
	}
	if answer, err := w.ReadConsistently(t.Context()); err != nil || !bytes.Contains(answer.Body, []byte(`"sync-20-new"`)) {
		t.Errorf("consistent read: got %.300s, %v; want the new master", answer.Body, err)
	}
	if err := a.Fill(t.Context(), labels); err != nil {
		t.Fatal(err)
	}
	if body := get(t, a.HTTP, path+"?tag=label="+labels[7].Name); bytes.Count(body, []byte(`"CheckID":"service:`)) != 2 {
		t.Errorf("label after another fill: got %s; want both candidates as they were", body)
	}
}

func TestWatchTellsItsFailure(t *testing.T) {
	a := startServer(t)
	w, err := a.Watch(t.Context(), "/v1/kv/none", nil)
	if err != nil {
		t.Fatal(err)
	}
	found := w.Until(func(Answer) bool { return false })
	a.Stop()
	for range 2 {
		select {
		case err := <-found:
			if err == nil {
				t.Error("watch of an agent that was killed: got no error; want one")
			}
		case <-time.After(20 * time.Second):
			t.Fatal("the watch has not seen that the agent is gone")
		}
		found = w.Until(func(Answer) bool { return false }) // whoever comes later is told too
	}
}

func TestKeyGoesWithItsSession(t *testing.T) {
	a := startServer(t)
	first, err := a.OpenSession(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next, err := a.OpenSession(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Acquire(t.Context(), "a/leader", "127.0.0.1:1"); err != nil {
		t.Fatal(err)
	}
	if body := string(get(t, a.HTTP, "/v1/kv/a/leader?raw")); body != "127.0.0.1:1" {
		t.Errorf("key that is held: got %q; want the value as it was given", body)
	}
	if err := next.Acquire(t.Context(), "a/leader", "127.0.0.1:2"); err == nil {
		t.Error("acquire a key that is held: got no error; want one")
	}
	w, err := a.Watch(t.Context(), "/v1/kv/a/leader", nil)
	if err != nil {
		t.Fatal(err)
	}
	gone := w.Until(func(a Answer) bool { return a.Status == http.StatusNotFound })
	if err := first.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-gone:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the watch has not seen that the key is gone")
	}
	if err := next.Acquire(t.Context(), "a/leader", "127.0.0.1:2"); err != nil {
		t.Errorf("acquire a key that is free again: %v", err)
	}
}

func TestRelayNotesTheFirstAnswer(t *testing.T) {
	a := startServer(t)
	r, err := a.Relay(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Stop()
	if at, ok := r.FirstAnswer(); ok {
		t.Errorf("first answer before a question: got %v; want none", at)
	}
	began := time.Now()
	if body := string(get(t, r.Address, "/v1/status/leader")); !strings.Contains(body, "127.0.0.1:") {
		t.Errorf("answer through the relay: got %s; want the leader's address", body)
	}
	first, ok := r.FirstAnswer()
	if !ok || first.Before(began) || first.After(time.Now()) {
		t.Errorf("first answer: got %v, %v; want a time since %v", first, ok, began)
	}
	get(t, r.Address, "/v1/status/leader")
	if again, _ := r.FirstAnswer(); again != first {
		t.Errorf("first answer after the second: got %v; want %v still", again, first)
	}
}

func TestUsageIsOfTheLeaderAndOfAll(t *testing.T) {
	a, err := StartCluster(t.Context(), binary(t), t.TempDir(), 3)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Stop()
	u, err := a.Usage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if u.Leader <= 0 || u.Agent <= 0 || u.All <= u.Leader+u.Agent {
		t.Errorf("usage: got %+v; want more of all than of leader and agent, and some of each", u)
	}
}
