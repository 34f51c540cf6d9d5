package discovery

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/discovery/consultest"
)

// TestOneQuestionForAllLabels: of one service and of one key, whatever the number
// of labels; a member's is another, for as long as it holds the key.
func TestOneQuestionForAllLabels(t *testing.T) {
	t.Parallel()
	s := double(t)
	c := quick(s.Addr)
	c.Labels = nil
	for _, name := range []string{"a", "B", "c"} {
		c.Labels = append(c.Labels, Label{Name: name, Tagged: true})
	}
	s.Register(
		consultest.Service{ID: "a1", Name: "sync", Port: 7803, Tags: []string{"role=master", "label=a"}},
		consultest.Service{ID: "b1", Name: "sync", Port: 7804, Tags: []string{"role=master", "Label=b"}},
	)
	r := start(t, c)
	r.awaitCall("a set 127.0.0.1:7803")
	r.awaitCall("B set 127.0.0.1:7804")
	r.awaitCall("c clear")
	r.heard(0)
	if n := s.PeakLongPolls(); n != 1 {
		t.Errorf("got %d long polls at a time; want one", n)
	}
	// One that changes does not touch the others.
	s.Txn(func(t *consultest.Tx) { t.SetTags("b1", "role=slave", "label=b") })
	r.awaitCall("B clear")
	s.Register(consultest.Service{ID: "c1", Name: "sync", Port: 7805, Tags: []string{"role=master", "label=c"}})
	r.awaitCall("c set 127.0.0.1:7805")
	calls := r.list()
	slices.Sort(calls)
	want := []string{"B clear", "B set 127.0.0.1:7804", "a set 127.0.0.1:7803", "c clear", "c set 127.0.0.1:7805"}
	if !slices.Equal(calls, want) {
		t.Errorf("got calls %q; want %q", calls, want)
	}
}

// TestFailingCandidatesOfASharedQuestionAreSaidOnce, though the long poll that the
// label shares with others never shows them.
func TestFailingCandidatesOfASharedQuestionAreSaidOnce(t *testing.T) {
	t.Parallel()
	s := double(t)
	s.Register(
		consultest.Service{ID: "a1", Name: "sync", Port: 7803, Tags: []string{"role=master", "label=a"}},
		consultest.Service{ID: "b1", Name: "sync", Port: 7804, Tags: []string{"role=master", "label=b"}},
	)
	c := quick(s.Addr)
	c.Labels = []Label{{Name: "a", Tagged: true}, {Name: "b", Tagged: true}}
	r := start(t, c)
	r.awaitCall("b set 127.0.0.1:7804")
	s.SetCheck("b1", consultest.Critical, "")
	await(t, "the reason", func() bool { return strings.Contains(r.Labels()[1].Why, "critical") })
	for port := 7810; port < 7815; port++ {
		s.Txn(func(t *consultest.Tx) { t.SetAddress("a1", "", port) })
		r.awaitCall(fmt.Sprintf("a set 127.0.0.1:%d", port))
		if l := r.Labels()[1]; l.Why == "" || len(l.Failing) != 1 {
			t.Errorf("got why %q, failing %v once the others' long poll has answered; want the check that fails", l.Why, l.Failing)
		}
		r.heard(0)
	}
	r.logged(1, "warn", "checks of its candidates")
}

func TestLoneLabelAsksForItsOwnInstances(t *testing.T) {
	t.Parallel()
	s := double(t)
	s.SetTags("sync-1", "role=master", "label=a")
	c := quick(s.Addr)
	c.Labels = []Label{{Name: "a", Tagged: true}}
	r := start(t, c)
	r.awaitCall("a set 127.0.0.1:7801")
	for _, q := range s.RequestsTo("/v1/health/") {
		if !slices.Contains(q.Query["tag"], "label=a") {
			t.Errorf("got %v asked; want the label's tag in it", q.Query)
		}
	}
}

// TestSubscriberThatComesLateSeesTheLastAnswer, and restarts nobody's watch.
func TestSubscriberThatComesLateSeesTheLastAnswer(t *testing.T) {
	t.Parallel()
	s := double(t)
	c := quick(s.Addr)
	c.VerifyEvery = time.Hour
	r := start(t, c)
	r.calls(set1)
	must(t, s.AwaitLongPolls(t.Context(), 1))
	asked := len(s.Requests())
	changed := make(chan struct{}, 1)
	late := r.subscribe(interest{question: r.labels[0].main.watch.question}, Config{}, changed)
	<-changed
	if v := late.see(); v.kind != found || len(v.claims.candidates) != 1 {
		t.Errorf("got view %+v; want the master", v)
	}
	r.unsubscribe(late)
	failover(s)
	r.calls(set1, set2)
	if n := len(s.Requests()); n > asked+2 {
		t.Errorf("got %d requests for one change; want the next long poll alone", n-asked)
	}
}

func TestOnLostCutsAfterItsTime(t *testing.T) {
	t.Parallel()
	s := double(t)
	c := quick(s.Addr)
	c.OnLost, c.LostAfter = CutLive, 300*time.Millisecond
	r := start(t, c)
	r.calls(set1)
	lost := time.Now()
	s.SetTags("sync-1", "role=slave")
	r.calls(set1, "default clear")
	r.calls(set1, "default clear", "default cut")
	if took := time.Since(lost); took < c.LostAfter {
		t.Errorf("got a cut after %v; want one after %v", took, c.LostAfter)
	}
	s.SetTags("sync-1", "role=master")
	r.calls(set1, "default clear", "default cut", set1)
}

func TestWhyThereIsNoMaster(t *testing.T) {
	t.Parallel()
	s := double(t)
	r := start(t, quick(s.Addr))
	r.calls(set1)
	s.SetCheck("sync-1", consultest.Warning, "")
	await(t, "the reason", func() bool { return strings.Contains(r.Labels()[0].Why, "warning") })
	r.calls(set1, "default clear")
	s.SetTags("sync-1", "role=slave")
	await(t, "no reason", func() bool { return r.Labels()[0].Why == "" })
}
