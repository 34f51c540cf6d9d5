package discovery

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/consultest"
	"github.com/rosproxy/rosproxy/discovery/consultest/orchestratortest"
	"github.com/rosproxy/rosproxy/discovery/consultest/patronitest"
	"github.com/rosproxy/rosproxy/discovery/consultest/realconsul"
)

// leading is quick for a label that follows a leader key.
func leading(key LeaderKey, addresses ...string) Config {
	c := quick(addresses...)
	c.OnLost = CutLive
	c.Labels[0].Leader = &key
	return c
}

// consulDouble starts a Consul double in which there is nothing.
func consulDouble(t *testing.T) *consultest.Server {
	t.Helper()
	s, err := consultest.Listen(consultest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

const (
	addressKey = "app/leader"
	patroniKey = "service/batman/leader"
)

// must fails the test for an error.
func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// batman is a cluster of Patroni with pg1 and pg2, of which the first leads.
func batman(t *testing.T, client *api.Client) *patronitest.Cluster {
	t.Helper()
	p := patronitest.New(client, "batman")
	t.Cleanup(func() { _ = p.Close() }) // Consul may be gone
	for name, conn := range map[string]string{"pg1": "postgres://u:s3cret@127.0.0.1:7801/postgres", "pg2": "postgres://u:s3cret@127.0.0.1:7802/postgres"} {
		if _, err := p.Add(name, conn); err != nil {
			t.Fatal(err)
		}
	}
	must(t, p.Elect("pg1"), p.Promote("pg1"))
	return p
}

func ofPatroni() LeaderKey {
	return LeaderKey{Key: patroniKey, Format: PatroniFormat, Ready: ReadyAPI}
}

func TestLeaderKeyOfPatroniIsFollowed(t *testing.T) {
	for name, consul := range map[string]func(t *testing.T) (*api.Client, string){
		"double": func(t *testing.T) (*api.Client, string) { s := consulDouble(t); return s.Client(), s.Addr },
		"real":   func(t *testing.T) (*api.Client, string) { a := realconsul.StartDev(t); return a.Client(), a.Addr },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, address := consul(t)
			p := batman(t, client)
			r := start(t, leading(ofPatroni(), address))
			r.awaitCall(set1)
			from := len(r.list())
			must(t, p.Turn(), p.Turn())
			must(t, p.LoseLock())
			r.awaitCall("default cut")
			must(t, p.Elect("pg2"))
			await(t, "the wait for pg2", func() bool { return strings.Contains(r.Labels()[0].Why, `"pg2"`) })
			r.heard(0)
			if calls := r.list(); slices.Contains(calls[from:], set2) {
				t.Errorf("got calls %q before pg2 is promoted; want it held", calls)
			}
			must(t, p.Promote("pg2"))
			r.awaitCall(set2)
			must(t, p.Turn())
			r.heard(0)
			if calls := r.list()[from:]; !slices.Equal(calls, []string{"default cut", set2}) {
				t.Errorf("got calls %q; want a cut and the new master", calls)
			}
			l := r.Labels()[0]
			if l.Source != SourceLeaderKey || l.Leader == nil || *l.Leader != (LeaderStatus{patroniKey, "pg2", true, l.Leader.ModifyIndex, true}) || l.Leader.ModifyIndex == 0 {
				t.Errorf("got status %+v, leader %+v; want pg2, locked and ready", l, l.Leader)
			}
			r.logged(1, "info", "leader elected that is not ready yet") // pg1 was ready when it was first asked
			r.logged(1, "info", `"leader":"pg2","waits_for":"its REST API `)
			if strings.Contains(r.log.String(), "s3cret") {
				t.Error("the log holds the password")
			}
			for _, c := range r.Check(t.Context()) {
				if c.Err != nil || len(c.Labels[0].Masters) != 1 || c.Labels[0].Masters[0].ServiceID != "pg2" || !c.Labels[0].Leader.Ready {
					t.Errorf("check: got %+v; want pg2, ready", c)
				}
			}
		})
	}
}

// TestHolderThatChangesInOneStepIsCutFromAtOnce: what was read of the last holder says
// nothing of the new one, neither where it is nor that it is ready.
func TestHolderThatChangesInOneStepIsCutFromAtOnce(t *testing.T) {
	for name, ready := range map[string]LeaderReady{"ready by its API": ReadyAPI, "ready at once": ReadyNow} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := consulDouble(t)
			p := batman(t, s.Client())
			key := ofPatroni()
			key.Ready = ready
			r := start(t, leading(key, s.Addr))
			r.awaitCall(set1)
			from := len(r.list())
			undo := s.Inject(consultest.Hang().On("/v1/kv/service/batman/members/pg2"))
			defer undo()
			s.Txn(func(t *consultest.Tx) {
				t.DropKey(patroniKey)
				t.Lock(patroniKey, "pg2", t.NewSession(consultest.DeleteKeys))
			})
			r.awaitCall("default cut")
			time.Sleep(100 * time.Millisecond) // pg1, whose API says that it is primary still, must not be asked for pg2
			if calls := r.list()[from:]; !slices.Equal(calls, []string{"default cut"}) {
				t.Fatalf("got calls %q before pg2's member is read; want a cut alone", calls)
			}
			undo()
			must(t, p.Promote("pg2"))
			if ready == ReadyAPI {
				r.heard(0)
				time.Sleep(100 * time.Millisecond)
				if calls := r.list()[from:]; !slices.Equal(calls, []string{"default cut"}) {
					t.Fatalf("got calls %q while pg2's API says that it does not lead; want a cut alone", calls)
				}
				return
			}
			r.awaitCall(set2)
		})
	}
}

func TestMastersAreNotProbedInOffice(t *testing.T) {
	t.Parallel()
	s := consulDouble(t)
	p := patronitest.New(s.Client(), "batman")
	defer p.Close()
	m, err := p.Add("pg1", "postgres://127.0.0.1:7801/postgres")
	must(t, err, p.Elect("pg1"), p.Promote("pg1"))
	r := start(t, leading(ofPatroni(), s.Addr))
	r.calls("default clear", set1)
	before := m.Probes()
	m.Break(patronitest.Status(http.StatusServiceUnavailable, "{}"))
	must(t, p.Turn())
	r.heard(0)
	time.Sleep(100 * time.Millisecond)
	if n := m.Probes(); n > before+maxProbes {
		t.Errorf("got %d probes of the present master; want none", n-before)
	}
	r.calls("default clear", set1)
}

func TestMemberThatComesLateIsFound(t *testing.T) {
	t.Parallel()
	s := consulDouble(t)
	session := s.NewSession(consultest.DeleteKeys)
	s.Lock(patroniKey, "pg1", session)
	r := start(t, leading(LeaderKey{Key: patroniKey, Format: PatroniFormat, Ready: ReadyNow}, s.Addr))
	await(t, "the reason", func() bool { return strings.Contains(r.Labels()[0].Why, "not among the members") })
	s.SetKey("service/batman/members/pg1", `{"conn_url":"postgres:///x?host=/run/postgresql"}`)
	await(t, "the reason", func() bool { return strings.Contains(r.Labels()[0].Why, "Unix socket") })
	s.SetKey("service/batman/members/pg1", `{"conn_url":"postgres://127.0.0.1:7801/x"}`)
	r.calls("default clear", set1)
	s.SetKey("service/batman/members/pg1", `{"conn_url":"postgres://127.0.0.1:7802/x"}`)
	r.calls("default clear", set1, set2)
}

// TestMemberIsReadWhileItIsNeeded: again and again, by reads alone, until it says where
// the leader is, and then as seldom as everything else is verified.
func TestMemberIsReadWhileItIsNeeded(t *testing.T) {
	t.Parallel()
	s := consulDouble(t)
	s.Lock(patroniKey, "pg1", s.NewSession(consultest.DeleteKeys))
	c := leading(LeaderKey{Key: patroniKey, Format: PatroniFormat}, s.Addr)
	c.VerifyEvery = time.Hour
	r := start(t, c)
	await(t, "reads of the member that is missing", func() bool { return len(s.RequestsTo("/v1/kv/service/batman/members/")) > 3 })
	s.SetKey("service/batman/members/pg1", `{"conn_url":"postgres://127.0.0.1:7801/x"}`)
	r.awaitCall(set1)
	time.Sleep(100 * time.Millisecond) // what is under way
	reads := s.RequestsTo("/v1/kv/service/batman/members/")
	time.Sleep(300 * time.Millisecond)
	if n := len(s.RequestsTo("/v1/kv/service/batman/members/")); n > len(reads)+1 {
		t.Errorf("got %d more reads of a member that is known; want none", n-len(reads))
	}
	if slices.ContainsFunc(reads, consultest.Request.Blocking) {
		t.Error("got a long poll for a member, which is written anew all the time")
	}
}

func TestLeaderKeyThatIsDeniedIsNotAbsent(t *testing.T) {
	t.Parallel()
	s := consulDouble(t)
	s.Lock(addressKey, "127.0.0.1:7801", s.NewSession(consultest.DeleteKeys))
	r := start(t, leading(LeaderKey{Key: addressKey}, s.Addr))
	r.calls(set1)
	undo := s.DenyKeys(addressKey)
	await(t, "access denied", func() bool { return strings.Contains(r.agent(0).Error, "key:read") })
	r.state(Found, 1)
	r.calls(set1)
	undo()
	r.heard(0)
	s.DropKey(addressKey)
	r.calls(set1, "default cut")
}

// TestPageThatIsNotFoundIsNoAbsentKey: a gateway that has lost its way to Consul
// answers 404 as well.
func TestPageThatIsNotFoundIsNoAbsentKey(t *testing.T) {
	t.Parallel()
	s := consulDouble(t)
	s.Lock(addressKey, "127.0.0.1:7801", s.NewSession(consultest.DeleteKeys))
	r := start(t, leading(LeaderKey{Key: addressKey}, s.Addr))
	r.calls(set1)
	undo := s.Inject(consultest.Status(http.StatusNotFound, "404 page not found"))
	await(t, "the trouble", func() bool { return strings.Contains(r.agent(0).Error, "404") })
	time.Sleep(200 * time.Millisecond)
	r.state(Found, 1)
	undo()
	r.heard(0)
	r.calls(set1)
}

func TestLeaderKeyDeniedFromTheStartSaysSo(t *testing.T) {
	t.Parallel()
	s := consulDouble(t)
	s.DenyKeys(addressKey)
	r := start(t, leading(LeaderKey{Key: addressKey}, s.Addr))
	await(t, "the reason", func() bool { return strings.Contains(r.Labels()[0].Why, "key:read") })
	r.state(Starting, 0)
	if err := r.Check(t.Context())[0].Err; err == nil || !strings.Contains(err.Error(), "key:read") {
		t.Errorf("check: got %v; want the right that is missing", err)
	}
}

func TestMemberThatIsDeniedIsSaidToBe(t *testing.T) {
	t.Parallel()
	s := consulDouble(t)
	s.Lock(patroniKey, "pg1", s.NewSession(consultest.DeleteKeys))
	undo := s.DenyKeys("service/batman/members/")
	r := start(t, leading(LeaderKey{Key: patroniKey, Format: PatroniFormat}, s.Addr))
	await(t, "the reason", func() bool { return strings.Contains(r.Labels()[0].Why, `key:read for "service/batman/members/pg1"`) })
	undo()
	s.DropKey(patroniKey)
	await(t, "the address to be well when the member is asked no more", func() bool { return r.agent(0).OK })
}

func TestLeaderKeyFromARestoredSnapshot(t *testing.T) {
	t.Parallel()
	s := consulDouble(t)
	s.Lock(addressKey, "127.0.0.1:7801", s.NewSession(consultest.DeleteKeys))
	snapshot := s.Snapshot()
	r := start(t, leading(LeaderKey{Key: addressKey}, s.Addr))
	r.calls(set1)
	s.DropKey(addressKey)
	r.calls(set1, "default cut")
	s.Lock(addressKey, "127.0.0.1:7802", s.NewSession(consultest.DeleteKeys))
	r.calls(set1, "default cut", set2)
	s.RestoreSnapshot(snapshot)
	r.awaitCall(set1)
	await(t, "the first master again", func() bool { c := r.list(); return c[len(c)-1] == set1 })
	s.Lock("app/other", "x", s.NewSession(consultest.DeleteKeys))
	r.heard(0)
	r.state(Found, 1)
}

func TestKeyOfOrchestratorNeedsNoLock(t *testing.T) {
	t.Parallel()
	s := consulDouble(t)
	kv := s.Client().KV()
	must(t, orchestratortest.Submit(kv, "main", orchestratortest.At("127.0.0.1:7801")))
	r := start(t, leading(LeaderKey{Key: orchestratortest.Key("main"), LockIgnored: true}, s.Addr))
	r.calls(set1)
	must(t, orchestratortest.Submit(kv, "main", orchestratortest.At("127.0.0.1:7802")))
	r.calls(set1, set2)
	must(t, orchestratortest.Submit(kv, "main", orchestratortest.At("127.0.0.1:7802")))
	r.heard(0)
	r.calls(set1, set2)
	if n := len(s.RequestsTo("/v1/health/")); n != 0 {
		t.Errorf("got %d questions about instances that nobody needs; want none", n)
	}
}

// TestLeaderByAHostNameIsReadyByTheCatalogOfConsul, which has it by its address.
func TestLeaderByAHostNameIsReadyByTheCatalogOfConsul(t *testing.T) {
	t.Parallel()
	s := double(t)
	s.Lock(addressKey, "sync-1.example:7801", s.NewSession(consultest.DeleteKeys))
	dns := newFakeDNS()
	c := leading(LeaderKey{Key: addressKey, Ready: ReadyCatalog}, s.Addr)
	c.VerifyEvery, c.VerifyTimeout = time.Hour, testTimeout
	r := startWith(t, c, dns.lookup)
	await(t, "the catalog and a look-up", func() bool {
		l := r.Labels()[0]
		return strings.Contains(l.Why, "passes at its address") && dns.count("sync-1.example") > 0 && len(s.RequestsTo("/v1/health/")) > 1
	})
	dns.set("sync-1.example", "127.0.0.1")
	r.calls("default clear", set1)
	for _, checked := range r.Check(t.Context()) {
		l := checked.Labels[0]
		if checked.Err != nil || l.Leader == nil || !l.Leader.Ready || len(l.Masters) != 1 || l.Masters[0].Address != addr("127.0.0.1:7801") {
			t.Errorf("check: got %+v, leader %+v; want it ready", checked, l.Leader)
		}
	}
}

func TestLeaderIsReadyByTheCatalogOfConsul(t *testing.T) {
	t.Parallel()
	s := double(t) // sync-1 has the master's tag
	s.Lock(addressKey, "127.0.0.1:7802", s.NewSession(consultest.DeleteKeys))
	r := start(t, leading(LeaderKey{Key: addressKey, Ready: ReadyCatalog}, s.Addr))
	await(t, "the reason", func() bool { return strings.Contains(r.Labels()[0].Why, "passes at its address") })
	failover(s)
	r.calls("default clear", set2)
	await(t, "the question about instances to be asked no more", func() bool {
		r.Consul.mu.Lock()
		defer r.Consul.mu.Unlock()
		return len(r.watches) == 1
	})
	await(t, "the end of its long poll", func() bool { return s.LongPolls() <= 1 })
	s.SetTags("sync-2", "role=slave")
	r.heard(0)
	r.calls("default clear", set2)
}

// TestRunEndsWhileLeadersChange, whatever is being asked for the last of them.
func TestRunEndsWhileLeadersChange(t *testing.T) {
	t.Parallel()
	s := double(t)
	stop := make(chan struct{})
	var electing sync.WaitGroup
	electing.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			s.Txn(func(t *consultest.Tx) {
				t.DropKey(patroniKey)
				if i%3 > 0 {
					t.Lock(patroniKey, fmt.Sprintf("pg%d.example:%d", i%2, 7800+i%5), t.NewSession(consultest.DeleteKeys))
				}
			})
		}
	})
	defer electing.Wait()
	defer close(stop)
	dns := newFakeDNS()
	dns.hang = true
	c := leading(ofPatroni(), s.Addr)
	c.Labels = append(c.Labels,
		Label{Name: "catalog", Leader: &LeaderKey{Key: patroniKey, Ready: ReadyCatalog}},
		Label{Name: "now", Leader: &LeaderKey{Key: patroniKey}})
	for i := range 20 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			startWith(t, c, dns.lookup)
			time.Sleep(time.Duration(i) * 2 * time.Millisecond)
		})
	}
}
