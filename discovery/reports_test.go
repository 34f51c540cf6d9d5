package discovery

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/consultest"
	"github.com/rosproxy/rosproxy/discovery/fence"
	"github.com/rosproxy/rosproxy/discovery/internal/clock"
	"github.com/rosproxy/rosproxy/discovery/internal/reporter"
)

const reportsAt = "rosproxy/fence"

func reporting(c Config) Config {
	c.Reports = &Reports{Prefix: reportsAt, Instance: "p1", TTL: fence.MinTTL}
	return c
}

// entries are the reports that Consul has.
func entries(t testing.TB, client *api.Client) map[string]fence.Entry {
	t.Helper()
	pairs, _, err := client.KV().List(reportsAt+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]fence.Entry{}
	for _, p := range pairs {
		e, err := fence.Parse(p.Value)
		if err != nil {
			t.Fatalf("report %s: %v", p.Key, err)
		}
		out[p.Key] = e
	}
	return out
}

// onlyReport is the one report, with its key.
func onlyReport(t testing.TB, client *api.Client) (string, fence.Entry) {
	t.Helper()
	all := entries(t, client)
	for key, e := range all {
		if len(all) == 1 {
			return key, e
		}
	}
	t.Fatalf("got reports %+v; want one", all)
	return "", fence.Entry{}
}

func TestReportSaysWhatWasObeyed(t *testing.T) {
	t.Parallel()
	s := consulDouble(t)
	first := s.Lock(addressKey, "127.0.0.1:7801", s.NewSession(consultest.DeleteKeys))
	r := start(t, reporting(leading(LeaderKey{Key: addressKey}, s.Addr)))
	r.calls(set1)
	await(t, "the report", func() bool {
		_, e := onlyReport(t, s.Client())
		return e.Labels["default"] == fence.State{Obeyed: first, Master: "127.0.0.1:7801"}
	})
	key, e := onlyReport(t, s.Client())
	if e.Instance != "p1" || e.PID != os.Getpid() || e.TTL != 5 || !strings.HasPrefix(key, reportsAt+"/p1-") {
		t.Errorf("got report %s of %+v; want that of this process, with its master", key, e)
	}
	gone := s.DropKey(addressKey)
	r.calls(set1, "default cut")
	await(t, "the loss reported", func() bool {
		_, e := onlyReport(t, s.Client())
		return e.Labels["default"].Obeyed >= gone && e.Labels["default"].Master == ""
	})
	second := s.Lock(addressKey, "127.0.0.1:7802", s.NewSession(consultest.DeleteKeys))
	r.calls(set1, "default cut", set2)
	await(t, "the second election reported", func() bool { _, e := onlyReport(t, s.Client()); return e.Labels["default"].Obeyed == second })
	again, e := onlyReport(t, s.Client())
	if again != key {
		t.Errorf("got report %s; want %s still", again, key)
	}
	l := r.Labels()[0]
	if l.Report == nil || l.Report.Key != key || l.Report.Obeyed != second || l.Report.Lease < clock.SinceBoot() || l.Report.Error != "" {
		t.Errorf("got status %+v; want that of the report", l.Report)
	}
	r.Withdraw(t.Context())
}

// TestReportsDoNotGetInTheWayOfAFailover: what a long poll tells is obeyed at once.
func TestReportsDoNotGetInTheWayOfAFailover(t *testing.T) {
	t.Parallel()
	s := double(t)
	r := start(t, reporting(quick(s.Addr)))
	r.calls(set1)
	failover(s)
	index := s.Index()
	r.calls(set1, set2)
	await(t, "the failover reported", func() bool { _, e := onlyReport(t, s.Client()); return e.Labels["default"].Obeyed >= index })
	r.heard(0)
	r.calls(set1, set2)
}

// TestObeyedRisesWhereTheMasterStays: an election of the index that it is waited for may
// be of another label, or none at all.
func TestObeyedRisesWhereTheMasterStays(t *testing.T) {
	t.Parallel()
	s := double(t)
	r := start(t, reporting(quick(s.Addr)))
	r.calls(set1)
	s.SetCheck("sync-2", "passing", "something else")
	index := s.Index()
	await(t, "the index reported", func() bool { _, e := onlyReport(t, s.Client()); return e.Labels["default"].Obeyed >= index })
	r.calls(set1)
}

// TestMasterWhoseNameIsLookedUpCutsBeforeThatIsReported: the election is obeyed when nobody is
// connected to the one before, however long it takes to find the new one.
func TestMasterWhoseNameIsLookedUpCutsBeforeThatIsReported(t *testing.T) {
	t.Parallel()
	s := double(t)
	dns := newFakeDNS()
	dns.set("worker.example") // it cannot be looked up
	s.Txn(func(t *consultest.Tx) { t.SetAddress("sync-2", "worker.example", 7802) })
	r := startWith(t, reporting(quick(s.Addr)), dns.lookup)
	r.calls(set1)
	failover(s)
	index := s.Index()
	await(t, "the failover reported", func() bool { _, e := onlyReport(t, s.Client()); return e.Labels["default"].Obeyed >= index })
	r.calls(set1, "default cut")
	dns.set("worker.example", "127.0.0.1")
	r.calls(set1, "default cut", set2)
}

// TestObeyedIsWrittenAfterTheCut: who waits for it must find nobody connected.
func TestObeyedIsWrittenAfterTheCut(t *testing.T) {
	t.Parallel()
	s := consulDouble(t)
	s.Lock(addressKey, "127.0.0.1:7801", s.NewSession(consultest.DeleteKeys))
	cutting, release := make(chan struct{}), make(chan struct{})
	r := start(t, reporting(leading(LeaderKey{Key: addressKey}, s.Addr)), func(_ *Consul, r *recorder) {
		r.hold = func(string) {
			if calls := r.list(); calls[len(calls)-1] == "default cut" {
				close(cutting)
				<-release
			}
		}
	})
	r.calls(set1)
	gone := s.DropKey(addressKey)
	<-cutting
	time.Sleep(100 * time.Millisecond)
	if _, e := onlyReport(t, s.Client()); e.Labels["default"].Obeyed >= gone {
		t.Errorf("got index %d obeyed while connections are cut; want less than %d", e.Labels["default"].Obeyed, gone)
	}
	close(release)
	await(t, "the loss reported", func() bool { _, e := onlyReport(t, s.Client()); return e.Labels["default"].Obeyed >= gone })
}

// TestNobodyIsConnectedBeforeTheReportStands: on a read that began afterwards.
func TestNobodyIsConnectedBeforeTheReportStands(t *testing.T) {
	t.Parallel()
	s := consulDouble(t)
	s.Lock(addressKey, "127.0.0.1:7801", s.NewSession(consultest.DeleteKeys))
	undo := s.DenyKeys(reportsAt)
	r := start(t, reporting(leading(LeaderKey{Key: addressKey}, s.Addr)))
	await(t, "the reason", func() bool { return strings.Contains(r.Labels()[0].Why, "key:") })
	r.heard(0)
	r.calls()
	undo()
	r.calls(set1)
	stood := time.Duration(0)
	for _, p := range r.reporters {
		stood = p.Look("default", 0).Stood
	}
	if confirmed := r.confirmed("default"); confirmed <= stood {
		t.Errorf("got a master by a read of %v; want one that began after %v, when the report stood", confirmed, stood)
	}
	r.logged(1, "warn", "fence report cannot be written")
	r.logged(1, "info", "fence report is written again")
}

// TestReportStandsAtOnce, and not first when a read is due.
func TestReportStandsAtOnce(t *testing.T) {
	t.Parallel()
	s := consulDouble(t)
	s.Lock(addressKey, "127.0.0.1:7801", s.NewSession(consultest.DeleteKeys))
	c := reporting(leading(LeaderKey{Key: addressKey}, s.Addr))
	c.VerifyEvery = time.Hour
	r := start(t, c)
	r.calls(set1)
}

// TestReportIsWrittenPastAnAgentThatListsNone: dead ones are looked for beside it.
func TestReportIsWrittenPastAnAgentThatListsNone(t *testing.T) {
	t.Parallel()
	all := doubles(t, 2)
	all[0].Inject(consultest.Hang().On("/v1/kv/").When(func(r *http.Request) bool { return r.Method == http.MethodGet && r.URL.Query().Has("recurse") }))
	c := reporting(quick(addresses(all)...))
	c.VerifyEvery = time.Hour
	r := start(t, c)
	r.calls(set1)
	if _, e := onlyReport(t, all[1].Client()); e.Labels["default"].Obeyed == 0 {
		t.Errorf("got report %+v; want one of the label", e)
	}
}

// TestReportIsWrittenPastAnAgentThatRefusesEachWrite, from which each is a lapse.
func TestReportIsWrittenPastAnAgentThatRefusesEachWrite(t *testing.T) {
	t.Parallel()
	all := doubles(t, 2)
	all[0].Inject(consultest.Body("false").On("/v1/kv/" + reportsAt).When(isWrite))
	r := start(t, reporting(quick(addresses(all)...)))
	await(t, "the master", func() bool { return slices.Contains(r.list(), set1) })
}

func TestReportThatIsTakenAwayCuts(t *testing.T) {
	t.Parallel()
	s := consulDouble(t)
	s.Lock(addressKey, "127.0.0.1:7801", s.NewSession(consultest.DeleteKeys))
	r := start(t, reporting(leading(LeaderKey{Key: addressKey}, s.Addr)))
	r.calls(set1)
	key, _ := onlyReport(t, s.Client())
	s.DropKey(key)
	r.calls(set1, "default cut", set1) // after a new report
	if again, _ := onlyReport(t, s.Client()); again == key {
		t.Errorf("got report %s again; want another key", again)
	}
	r.logged(0, "info", "leader elected that is not ready yet") // nobody was elected, and he was ready
}

func TestLeaseEndsWithoutConsul(t *testing.T) {
	t.Parallel()
	s := consulDouble(t)
	s.Lock(addressKey, "127.0.0.1:7801", s.NewSession(consultest.DeleteKeys))
	r := start(t, reporting(leading(LeaderKey{Key: addressKey}, s.Addr)))
	r.calls(set1)
	undo := s.Inject(consultest.Hang())
	began := clock.SinceBoot()
	r.calls(set1, "default cut")
	if took := clock.SinceBoot() - began; took > fence.MinTTL {
		t.Errorf("got the cut after %v; want it before the TTL of %v", took, fence.MinTTL)
	}
	if lease := r.lease("default"); lease > began+fence.LeaseOf(fence.MinTTL)+100*time.Millisecond {
		t.Errorf("got a lease until %v after Consul was gone; want %v at most", lease-began, fence.LeaseOf(fence.MinTTL))
	}
	undo()
	r.calls(set1, "default cut", set1)
	await(t, "the old report to be taken away", func() bool { return len(entries(t, s.Client())) == 1 })
}

// TestLabelThatCannotBeReadLeavesTheReport, in which the others stay.
func TestLabelThatCannotBeReadLeavesTheReport(t *testing.T) {
	t.Parallel()
	s := double(t)
	s.Lock(addressKey, "127.0.0.1:7803", s.NewSession(consultest.DeleteKeys))
	c := reporting(quick(s.Addr))
	c.Labels = []Label{{Name: "default"}, {Name: "app", Leader: &LeaderKey{Key: addressKey}}}
	r := start(t, c)
	r.awaitCall(set1)
	r.awaitCall("app set 127.0.0.1:7803")
	key, _ := onlyReport(t, s.Client())
	undo := s.Inject(consultest.Hang().On("/v1/kv/app/"))
	r.awaitCall("app cut")
	await(t, "the label to leave", func() bool {
		_, e := onlyReport(t, s.Client())
		_, there := e.Labels["app"]
		_, other := e.Labels["default"]
		return !there && other
	})
	undo()
	await(t, "the label to be back", func() bool {
		calls := r.list()
		return calls[len(calls)-1] == "app set 127.0.0.1:7803"
	})
	if again, _ := onlyReport(t, s.Client()); again != key || slices.Contains(r.list(), "default cut") {
		t.Errorf("got report %s and calls %q; want the other label untouched", again, r.list())
	}
}

func TestReportsOfDeadProcessesAreTakenAway(t *testing.T) {
	t.Parallel()
	s := consulDouble(t)
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	put := func(name string, e fence.Entry) {
		e.TTL, e.Labels = 5, map[string]fence.State{"default": {}}
		s.SetKey(reportsAt+"/"+name, string(e.Encode()))
	}
	dead := gone.Process.Pid
	put("p1-dead", fence.Entry{Instance: "p1", PID: dead, Boot: reporter.BootID()})
	put("p1-alive", fence.Entry{Instance: "p1", PID: os.Getppid(), Boot: reporter.BootID()})
	put("p1-elsewhere", fence.Entry{Instance: "p1", PID: dead, Boot: "another"})
	put("p2-dead", fence.Entry{Instance: "p2", PID: dead, Boot: reporter.BootID()})
	s.SetKey(reportsAt+"/odd", "nonsense")
	s.Inject(consultest.Status(http.StatusInternalServerError, "No cluster leader").When(func(r *http.Request) bool { return r.URL.Query().Has("recurse") }).Times(3))
	start(t, reporting(leading(LeaderKey{Key: addressKey}, s.Addr)))
	await(t, "the dead one to be taken away", func() bool { return !slices.Contains(keysOf(t, s.Client()), reportsAt+"/p1-dead") })
	for _, name := range []string{"p1-alive", "p1-elsewhere", "p2-dead", "odd"} {
		if !slices.Contains(keysOf(t, s.Client()), reportsAt+"/"+name) {
			t.Errorf("report %s: got it taken away; want it left", name)
		}
	}
}

func keysOf(t *testing.T, client *api.Client) []string {
	t.Helper()
	keys, _, err := client.KV().Keys(reportsAt+"/", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestProcessThatEndsInOrderTakesItsReportAway(t *testing.T) {
	t.Parallel()
	s := consulDouble(t)
	s.Lock(addressKey, "127.0.0.1:7801", s.NewSession(consultest.DeleteKeys))
	c, err := NewConsul(reporting(leading(LeaderKey{Key: addressKey}, s.Addr)), nopLog)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	sink := &recorder{}
	go func() { done <- c.Run(ctx, sink) }()
	await(t, "the master", func() bool { return len(sink.list()) == 1 })
	cancel()
	<-done
	onlyReport(t, s.Client()) // its connections may still be open
	c.Withdraw(t.Context())
	if all := entries(t, s.Client()); len(all) != 0 {
		t.Errorf("got reports %+v; want none", all)
	}
}

// TestReportIsTakenAwayPastAgentsThatAreNotWell, whichever was written by last.
func TestReportIsTakenAwayPastAgentsThatAreNotWell(t *testing.T) {
	t.Parallel()
	for well := range 3 {
		all := doubles(t, 3)
		c, err := NewConsul(reporting(quick(addresses(all)...)), nopLog)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		sink := &recorder{}
		go func() { done <- c.Run(ctx, sink) }()
		await(t, "the master", func() bool { return len(sink.list()) == 1 })
		cancel()
		<-done
		all[(well+1)%3].Stop()
		undo := all[(well+2)%3].Inject(consultest.Hang())
		began := time.Now()
		c.Withdraw(t.Context())
		undo()
		if left := entries(t, all[well].Client()); len(left) != 0 {
			t.Errorf("agent %d is well: got reports %+v after %v; want none", well, left, time.Since(began))
		}
	}
}

// TestLateWriteIsReadBack: one of which nobody knows whether it was made.
func TestLateWriteIsReadBack(t *testing.T) {
	t.Parallel()
	s := consulDouble(t)
	s.Lock(addressKey, "127.0.0.1:7801", s.NewSession(consultest.DeleteKeys))
	r := start(t, reporting(leading(LeaderKey{Key: addressKey}, s.Addr)))
	r.calls(set1)
	key, before := onlyReport(t, s.Client())
	lost := s.Inject(consultest.Status(http.StatusInternalServerError, "rpc error").On("/v1/kv/" + reportsAt).When(func(r *http.Request) bool { return r.Method == http.MethodPut }))
	await(t, "a write that fails", func() bool { return r.Labels()[0].Report.Error != "" })
	lost()
	await(t, "the next beat", func() bool { _, e := onlyReport(t, s.Client()); return e.Beat > before.Beat })
	if again, _ := onlyReport(t, s.Client()); again != key {
		t.Errorf("got report %s; want %s still", again, key)
	}
	r.calls(set1)
}
