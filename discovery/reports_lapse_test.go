package discovery

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/discovery/consultest"
	"github.com/rosproxy/rosproxy/discovery/fence"
	"github.com/rosproxy/rosproxy/discovery/internal/clock"
	"github.com/rosproxy/rosproxy/discovery/internal/reporter"
)

// TestEntryOfAnEarlierLifeStaysUntilItsLabelsHaveCut: await-fence would else find
// nobody to wait for while connections are open.
//
// The model's trace (fence, "labels leave before an entry is taken away"): the entry
// is lost to a refused write, though Consul has it; the reporter takes it away, await-fence
// returns 0, and the label's goroutine has not cut yet.
func TestEntryOfAnEarlierLifeStaysUntilItsLabelsHaveCut(t *testing.T) {
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
	key, _ := onlyReport(t, s.Client())
	s.SetKey(key, "another's") // so that the next write is refused, as one is that a client has repeated
	<-cutting
	await(t, "the next report", func() bool {
		keys := keysOf(t, s.Client())
		return len(keys) > 1 || len(keys) == 1 && keys[0] != key
	})
	if !slices.Contains(keysOf(t, s.Client()), key) {
		t.Errorf("got report %s taken away while connections are cut; want it there until they are", key)
	}
	close(release)
	await(t, "it to be taken away", func() bool { return !slices.Contains(keysOf(t, s.Client()), key) })
	r.calls(set1, "default cut", set1)
}

// TestEntriesThatCouldNotBeTakenAwayGoWhenConsulIsBack: also that of a data centre
// whose master is not served any more, and which nothing is reported in. Whoever
// activates a data centre would else wait for their TTL.
func TestEntriesThatCouldNotBeTakenAwayGoWhenConsulIsBack(t *testing.T) {
	t.Parallel()
	s := consulDouble(t)
	s.Lock(addressKey, "127.0.0.1:7801", s.NewSession(consultest.DeleteKeys))
	r := start(t, reporting(leading(LeaderKey{Key: addressKey}, s.Addr)))
	r.calls(set1)
	undo := s.Inject(consultest.Status(500, "No cluster leader"))
	r.calls(set1, "default cut")
	time.Sleep(2 * time.Second) // it is tried meanwhile, in vain
	undo()
	r.calls(set1, "default cut", set1)
	await(t, "the old report to be taken away", func() bool { return len(entries(t, s.Client())) == 1 })
}

// TestLabelJoinsAgainOnAReadThatBeganAfterItLeft: by one that was on its way it
// would have await-fence wait for one more lease.
func TestLabelJoinsAgainOnAReadThatBeganAfterItLeft(t *testing.T) {
	t.Parallel()
	c, err := NewConsul(reporting(leading(LeaderKey{Key: addressKey}, "127.0.0.1:1")), nopLog)
	if err != nil {
		t.Fatal(err)
	}
	w, sink, report := c.labels[0], &recorder{}, &heldReport{}
	w.reports.own.labelReporter = report
	joined := func() bool { return report.now.Joined }
	looks := func(begun time.Duration) { w.mayServe(view{kind: found, begun: begun, index: 1}, sink) }
	looks(clock.SinceBoot())
	if !joined() {
		t.Fatal("got a label that has not joined after a read; want it in")
	}
	report.now.Over = true
	under := clock.SinceBoot()
	looks(under - time.Second)
	if joined() {
		t.Fatal("got a label in the report whose lease is over; want it out")
	}
	if looks(under); joined() {
		t.Error("got the label back on a read that began before it left; want it out still")
	}
	if looks(clock.SinceBoot()); !joined() {
		t.Error("got the label out after a newer read; want it back")
	}
}

// TestOutagePolicyGivesNoLeaseWhereTheReportHasNone, of which both are the older.
func TestOutagePolicyGivesNoLeaseWhereTheReportHasNone(t *testing.T) {
	c, err := NewConsul(reporting(fencing("127.0.0.1:1")), nopLog)
	if err != nil {
		t.Fatal(err)
	}
	w, sink, report := c.labels[0], &recorder{}, &heldReport{now: reporter.Standing{Joined: true}}
	w.reports.own.labelReporter = report
	now := clock.SinceBoot()
	w.main.watch.outage.end(now)
	if w.extend(sink); sink.lease("default") != 0 {
		t.Errorf("got a lease for %v; want none", sink.lease("default")-now)
	}
	report.now.Ends = now + time.Second
	if w.extend(sink); sink.lease("default") != now+time.Second {
		t.Errorf("got a lease for %v; want that of the report, 1s", sink.lease("default")-now)
	}
	report.now.Ends = now + time.Hour
	if w.extend(sink); sink.lease("default") >= now+time.Hour || sink.lease("default") <= now+time.Second {
		t.Errorf("got a lease for %v; want that of the outage policy", sink.lease("default")-now)
	}
}

// TestAnswersAreAsOldAsThoseOfTheEntryReadLongestAgo, where an isolated data centre is to be fenced.
func TestAnswersAreAsOldAsThoseOfTheEntryReadLongestAgo(t *testing.T) {
	conf := reporting(fencing("127.0.0.1:1"))
	conf.Datacenters = []string{"dc1", "dc2"}
	c, err := NewConsul(conf, nopLog)
	if err != nil {
		t.Fatal(err)
	}
	w := c.labels[0]
	w.main = c.subscribe(w.interest.in("dc1"), w.config, w.changed)
	w.main.watch.outage.end(30)
	for i, read := range []time.Duration{20, 10} {
		c.active.entries[i].watch.outage.end(read)
	}
	if first, answered := w.outage(); first != 0 || answered != 10 {
		t.Errorf("got an outage since %d, the last answer to the read of %d; want none, and 10", first, answered)
	}
	w.config.OnOutage = Keep
	if first, answered := w.outage(); first != 0 || answered != 30 {
		t.Errorf("where an outage is not fenced: got one since %d, the last answer to the read of %d; want none, and 30", first, answered)
	}
}

// heldReport stands as a test says.
type heldReport struct{ now reporter.Standing }

func (h *heldReport) Look(string, time.Duration) reporter.Standing { return h.now }
func (h *heldReport) Join(string, fence.State, chan struct{}, func()) {
	h.now = reporter.Standing{Joined: true}
}
func (h *heldReport) Leave(string)                   { h.now = reporter.Standing{} }
func (h *heldReport) Obey(string, fence.State)       {}
func (h *heldReport) Status(string) *reporter.Status { return &reporter.Status{} }

// TestMasterByHostNameIsBackAfterALapse: its name is looked up again.
func TestMasterByHostNameIsBackAfterALapse(t *testing.T) {
	t.Parallel()
	s := consulDouble(t)
	s.Lock(addressKey, "worker.example:7801", s.NewSession(consultest.DeleteKeys))
	dns := newFakeDNS()
	dns.set("worker.example", "127.0.0.1")
	r := startWith(t, reporting(leading(LeaderKey{Key: addressKey}, s.Addr)), dns.lookup)
	r.calls(set1)
	key, _ := onlyReport(t, s.Client())
	s.DropKey(key)
	r.calls(set1, "default cut", set1)
}

// TestLeaseThatNoReadKeepsSaysWhy: the report itself is written all the time.
func TestLeaseThatNoReadKeepsSaysWhy(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault consultest.Fault
		want  string
	}{
		"Consul has no answer": {consultest.Status(http.StatusInternalServerError, "rpc error"), "no consistent read of who is master is answered"},
		"the right is missing": {consultest.Status(http.StatusForbidden, "Permission denied"), "denied: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := consulDouble(t)
			s.Lock(addressKey, "127.0.0.1:7801", s.NewSession(consultest.DeleteKeys))
			r := start(t, reporting(leading(LeaderKey{Key: addressKey}, s.Addr)))
			r.calls(set1)
			undo := s.Inject(c.fault.On("/v1/kv/" + addressKey))
			r.calls(set1, "default cut")
			await(t, "the reason", func() bool { return strings.HasPrefix(r.why(), "the lease of its fence report is over: "+c.want) })
			undo()
			r.calls(set1, "default cut", set1)
		})
	}
}
