package consultest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/consultest"
)

func TestCloseEndsEveryWait(t *testing.T) {
	s := consultest.NewServer()
	got := []<-chan answer{later(t, s, poll(s)), later(t, s, "/v1/kv/k?index=5&wait=10m"), later(t, s, "/v1/session/list?index=5&wait=10m")}
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	must(t, s.AwaitLongPolls(ctx, len(got)))
	s.Close()
	s.Close() // is harmless
	for i, ch := range got {
		if a := <-ch; a.err == nil {
			t.Errorf("query %d: got %+v; want an error", i, a)
		}
	}
	if n := s.LongPolls(); n != 0 {
		t.Errorf("long polls after Close: got %d; want 0", n)
	}
}

func TestClientThatGoesEndsItsWait(t *testing.T) {
	s := newDouble(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		get(ctx, s, poll(s), 1)
	}()
	awaitPoll(t, s)
	cancel()
	<-ended
	eventually(t, "no long poll is left", func() bool { return s.LongPolls() == 0 })
}

func TestStopResetsThenRefuses(t *testing.T) {
	s := newDouble(t)
	got := later(t, s, poll(s))
	awaitPoll(t, s)
	s.Stop()
	if a := <-got; !errors.Is(a.err, syscall.ECONNRESET) {
		t.Errorf("the poll that waited: got %v; want %v", a.err, syscall.ECONNRESET)
	}
	if a := ask(t, s, healthPath); !errors.Is(a.err, syscall.ECONNREFUSED) {
		t.Errorf("a new request: got %v; want %v", a.err, syscall.ECONNREFUSED)
	}
	s.SetTags("sync-1", "role=slave") // the cluster lives on
	s.Start()
	if a := ask(t, s, healthPath); a.err != nil || !strings.Contains(a.body, "role=slave") {
		t.Errorf("after Start at the same address: got %+v; want the catalog as it is now", a)
	}
}

func TestRestartStartsOver(t *testing.T) {
	s := newDouble(t)
	for range 20 {
		s.SetCheck("sync-1", consultest.Warning, "")
		s.SetCheck("sync-1", consultest.Passing, "")
	}
	was := ask(t, s, healthPath).index()
	s.Restart()
	if a := ask(t, s, healthPath); a.err != nil || a.body != "[]\n" || a.index() == 0 || a.index() >= was {
		t.Errorf("answer: got %+v; want an empty list, and an index below %d", a, was)
	}
}

func TestRestoreWakesAndGoesBackwards(t *testing.T) {
	s := newDouble(t)
	s.SetTags("sync-1", "role=master", "v=2")
	was := s.Index()
	got := later(t, s, poll(s))
	awaitPoll(t, s)
	s.Restore(was - 1)
	if a := <-got; a.err != nil || a.index() != was {
		t.Errorf("the poll that waited: got %+v; want the answer of before, under %d", a, was)
	}
	if a := ask(t, s, healthPath); a.err != nil || a.index() >= was || !strings.Contains(a.body, "v=2") {
		t.Errorf("a read after it: got %+v; want the same body under an index below %d", a, was)
	}
}

func TestTxnIsSeenAsOneStep(t *testing.T) {
	s := newDouble(t)
	s.Register(consultest.Service{ID: "sync-2", Name: "sync", Port: 7801, Tags: []string{"role=slave"}})
	got := later(t, s, poll(s))
	awaitPoll(t, s)
	at := s.Txn(func(tx *consultest.Tx) {
		tx.SetTags("sync-1", "role=slave")
		tx.SetTags("sync-2", "role=master")
	})
	if a := <-got; a.index() != at || strings.Count(a.body, `"Tags":["role=master"]`) != 1 {
		t.Errorf("answer: got index %d, %s; want %d and one master", a.index(), a.body, at)
	}
}

func TestTxnReachesTheSameIDOnTwoNodes(t *testing.T) {
	s := consultest.NewServer()
	defer s.Close()
	for _, node := range []string{"n1", "n2"} {
		s.Register(consultest.Service{ID: "x", Name: "sync", Node: node, NodeAddress: "127.0.0.9", Address: "127.0.0.1", Port: 1})
	}
	s.Txn(func(tx *consultest.Tx) {
		tx.On("n1").SetAddress("x", "127.0.0.2", 2)
		tx.On("n2").SetMeta("x", map[string]string{"k": "v"})
		tx.SetNodeCheck("n1", "serfHealth", consultest.Critical)
	})
	entries, _, err := s.Client().Health().Service("sync", "", false, nil)
	must(t, err)
	a, b := entries[0], entries[1]
	if a.Service.Address != "127.0.0.2" || a.Service.Port != 2 || a.Checks.AggregatedStatus() != "critical" || a.Node.Address != "127.0.0.9" {
		t.Errorf("on n1: got %+v, %s; want 127.0.0.2:2, critical", a.Service, a.Checks.AggregatedStatus())
	}
	if b.Service.Port != 1 || b.Service.Meta["k"] != "v" || b.Checks.AggregatedStatus() != "passing" {
		t.Errorf("on n2: got %+v, %s; want port 1, its metadata, passing", b.Service, b.Checks.AggregatedStatus())
	}
	defer func() {
		if recover() == nil {
			t.Error("an id that two nodes have, without a node: got no panic; want one")
		}
		s.Register(consultest.Service{ID: "y", Name: "sync"}) // the double still works
	}()
	s.SetTags("x", "role=master")
}

func TestAgentsOfOneClusterShareItsCatalog(t *testing.T) {
	s, err := consultest.Listen(consultest.Config{SessionTTLMin: time.Millisecond})
	must(t, err)
	t.Cleanup(s.Close)
	other, err := s.AddAgent("other")
	must(t, err)
	defer other.Close()
	must(t, other.Client().Agent().ServiceRegister(&api.AgentServiceRegistration{ID: "sync-2", Name: "sync", Port: 2}))
	a := ask(t, s, healthPath)
	if !strings.Contains(a.body, `"Node":"other"`) || a.index() != ask(t, other, healthPath).index() {
		t.Errorf("answer of the first: got %+v; want the instance on the other, under the same index", a)
	}
	brief, _, err := other.Client().Session().Create(&api.SessionEntry{TTL: "300ms"}, nil)
	must(t, err)
	third, err := s.AddAgent("third")
	must(t, err)
	third.Close()
	eventually(t, "sessions end though an agent has gone", func() bool {
		e, _, err := s.Client().Session().Info(brief, nil)
		must(t, err)
		return e == nil
	})
	s.Stop()
	if a := ask(t, other, healthPath); a.status != 200 {
		t.Errorf("the other, after the first has died: got %+v; want 200", a)
	}
}

func TestRequestsAreOnRecord(t *testing.T) {
	s := newDouble(t)
	ask(t, s, healthPath+"?near=_agent&passing=1&tag=a&tag=b")
	got := later(t, s, poll(s))
	awaitPoll(t, s)
	all := s.RequestsTo("/v1/health/")
	if len(all) != 2 || all[0].Query.Get("near") != "_agent" || len(all[0].Query["tag"]) != 2 || all[0].Status != 200 || all[0].Took == 0 || all[0].Blocking() {
		t.Fatalf("requests: got %+v; want two, the first with near, two tags, status 200", all)
	}
	if !all[1].Blocking() || all[1].Took != 0 || all[1].Status != 0 {
		t.Errorf("request in flight: got %+v; want a long poll, not answered", all[1])
	}
	s.SetTags("sync-1")
	<-got
	eventually(t, "the poll is over", func() bool { return s.LongPolls() == 0 })
	if n := s.PeakLongPolls(); n != 1 {
		t.Errorf("most long polls at a time: got %d; want 1", n)
	}
	s.ForgetRequests()
	if n := len(s.Requests()) + s.PeakLongPolls(); n != 0 {
		t.Errorf("on record after ForgetRequests: got %d; want 0", n)
	}
}

func TestAwaitSaysWhatItWaitedFor(t *testing.T) {
	s := newDouble(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.AwaitRequests(ctx, "/v1/kv/", 1); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "/v1/kv/") {
		t.Errorf("error: got %v; want one that names the path", err)
	}
	ask(t, s, "/v1/kv/x")
	must(t, s.AwaitRequests(t.Context(), "/v1/kv/", 1))
}

// TestBodyOfUnknownLengthIsBounded: one that says how long it is, is refused
// before it is read (largestValue).
func TestBodyOfUnknownLengthIsBounded(t *testing.T) {
	s := newDouble(t)
	body := strings.NewReader(strings.Repeat("x", 512<<10+1))
	req, err := http.NewRequest("PUT", s.URL+"/v1/kv/k", struct{ io.Reader }{body})
	must(t, err)
	req.Close = true
	resp, err := http.DefaultTransport.RoundTrip(req)
	must(t, err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("status: got %d; want %d", resp.StatusCode, http.StatusRequestEntityTooLarge)
	}
}

func TestSessionOutlivesItsAgent(t *testing.T) {
	s, err := consultest.Listen(consultest.Config{SessionTTLMin: time.Millisecond})
	must(t, err)
	defer s.Close()
	id, _, err := s.Client().Session().Create(&api.SessionEntry{TTL: "1h"}, nil)
	must(t, err)
	brief, _, err := s.Client().Session().Create(&api.SessionEntry{TTL: "1ms"}, nil)
	must(t, err)
	s.Stop()
	s.Start()
	eventually(t, "the session that was not renewed ends", func() bool {
		e, _, err := s.Client().Session().Info(brief, nil)
		must(t, err)
		return e == nil
	})
	if e, _, err := s.Client().Session().Info(id, nil); err != nil || e == nil {
		t.Errorf("the other session: got %v, %v; want it alive", e, err)
	}
}

func TestListenRefusesABadAddress(t *testing.T) {
	for _, addr := range []string{"nowhere", "[::1]:0", "192.0.2.1:0"} {
		if s, err := consultest.Listen(consultest.Config{Addr: addr}); err == nil {
			s.Close()
			t.Errorf("listen on %s: got no error; want one", addr)
		} else if !strings.Contains(err.Error(), addr) {
			t.Errorf("listen on %s: got %v; want an error that names it", addr, err)
		}
	}
}

func TestPollForAMissingKeySleepsThroughOthers(t *testing.T) {
	s := newDouble(t)
	kv := s.Client().KV()
	_, err := kv.Put(&api.KVPair{Key: "first"}, nil)
	must(t, err)
	got := later(t, s, "/v1/kv/wanted?wait=10m&index="+strconv.FormatUint(s.Index(), 10))
	awaitPoll(t, s)
	_, err = kv.Put(&api.KVPair{Key: "other"}, nil)
	must(t, err)
	pending(t, got)
	_, err = kv.Put(&api.KVPair{Key: "wanted"}, nil)
	must(t, err)
	if a := <-got; a.status != 200 {
		t.Errorf("status: got %d; want 200", a.status)
	}
}

func TestPollForAMissingServiceSleepsThroughOthers(t *testing.T) {
	s := newDouble(t)
	got := later(t, s, "/v1/health/service/wanted?wait=10m&index="+strconv.FormatUint(s.Index(), 10))
	awaitPoll(t, s)
	s.Register(consultest.Service{Name: "other"})
	s.Deregister("other")
	pending(t, got)
	s.Register(consultest.Service{Name: "wanted"})
	if a := <-got; !strings.Contains(a.body, "wanted") {
		t.Errorf("body: got %q; want the instance", a.body)
	}
}
