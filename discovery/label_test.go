package discovery

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/discovery/consultest"
)

func (r *running) awaitCall(call string) {
	r.t.Helper()
	await(r.t, call, func() bool { return slices.Contains(r.list(), call) })
}

func TestLabelAsksForItsOwnServiceAndTags(t *testing.T) {
	t.Parallel()
	s := double(t)
	s.Register(
		consultest.Service{ID: "eu", Name: "sync", Port: 7803, Tags: []string{"role=master", "label=europe"}},
		consultest.Service{ID: "pg1", Name: "db", Port: 7804, Tags: []string{"primary"}},
		consultest.Service{ID: "pg2", Name: "db", Port: 7805, Tags: []string{"role=master", "label=pg"}},
	)
	c := quick(s.Addr)
	c.Labels = []Label{
		{Name: "europe", Tagged: true},
		{Name: "pg", Service: "db", Tags: []string{"primary"}},
		{Name: "tagged", Service: "db", Tagged: true},
	}
	r := start(t, c)
	r.awaitCall("europe set 127.0.0.1:7803")
	r.awaitCall("pg set 127.0.0.1:7804")
	await(t, "an answer for the last label", func() bool { return r.Labels()[2].State == None })
	for _, a := range r.Check(t.Context()) {
		if a.Err != nil || len(a.Labels) != 3 || len(a.Labels[1].Masters) != 1 || a.Labels[1].Masters[0].ServiceID != "pg1" || len(a.Labels[2].Masters) != 0 {
			t.Errorf("check: got %+v; want the masters of each label's own service", a)
		}
	}
}

func TestLabelAsksItsOwnDatacenter(t *testing.T) {
	t.Parallel()
	s := double(t)
	c := quick(s.Addr)
	c.Labels = []Label{{Name: "here"}, {Name: "there", Datacenter: "nope"}}
	r := start(t, c)
	r.awaitCall("here set 127.0.0.1:7801")
	await(t, "the double's refusal of a data centre that it does not know", func() bool {
		return strings.Contains(r.agent(0).Error, "No path to datacenter")
	})
	checked := r.Check(t.Context())[0].Labels
	if checked[0].Err != nil || checked[1].Err == nil {
		t.Errorf("check: got errors %v, %v; want one for the label in the other data centre", checked[0].Err, checked[1].Err)
	}
}

func TestLabelHasItsOwnPolicies(t *testing.T) {
	t.Parallel()
	s := double(t)
	s.SetTags("sync-2", "role=master") // two claim to be it
	c := quick(s.Addr)
	c.OnOutage, c.FenceAfter = Fence, time.Second
	c.Labels = []Label{{Name: "all"}, {Name: "own", Policy: &Policy{OnOutage: Keep, OnConflict: Refuse}}}
	r := start(t, c)
	await(t, "the conflict", func() bool { return r.Labels()[0].State == Found && r.Labels()[1].State == Conflict })
	s.SetTags("sync-2", "role=slave")
	r.awaitCall("own set 127.0.0.1:7801")
	if r.lease("own") != 0 {
		t.Error("got a lease for the label that keeps its master; want none")
	}
	s.Stop()
	await(t, "the fence", func() bool { return r.Labels()[0].State == Unreachable })
	if got := r.Labels()[1].State; got != Found {
		t.Errorf("state of the label that keeps its master: got %q; want %q", got, Found)
	}
	if slices.Contains(r.list()[slices.Index(r.list(), "own set 127.0.0.1:7801"):], "own cut") {
		t.Errorf("got calls %q; want no cut of the label that keeps its master", r.list())
	}
}

// TestCheckAsksEachQuestionOnce, whatever the number of labels.
func TestCheckAsksEachQuestionOnce(t *testing.T) {
	t.Parallel()
	s := double(t)
	c := quick(s.Addr)
	c.Labels, c.VerifyTimeout = nil, testTimeout
	for i := range 100 {
		c.Labels = append(c.Labels, Label{Name: fmt.Sprintf("l%d", i), Tagged: true})
		s.Register(consultest.Service{ID: fmt.Sprintf("w%d", i), Name: "sync", Port: 8000 + i, Tags: []string{"role=master", fmt.Sprintf("label=l%d", i)}})
	}
	source, err := NewConsul(c, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	a := source.Check(t.Context())[0]
	if n := len(s.RequestsTo("/v1/health/")); n != 1 || a.Err != nil {
		t.Errorf("got %d requests, %v; want one, and no error", n, a.Err)
	}
	for i, l := range a.Labels {
		if l.Label != c.Labels[i].Name || len(l.Masters) != 1 || l.Masters[0].Address != addr(fmt.Sprintf("127.0.0.1:%d", 8000+i)) {
			t.Errorf("got %+v; want the master of %s", l, c.Labels[i].Name)
		}
	}
}

// TestCheckTakesAFilteredListForNoProof: who is missing from it may be there.
func TestCheckTakesAFilteredListForNoProof(t *testing.T) {
	t.Parallel()
	s := double(t)
	s.SetTags("sync-1", "role=master", "label=a")
	s.Inject(consultest.Edit("filtered", func(a *consultest.Answer) { a.Header.Set("X-Consul-Results-Filtered-By-Acls", "true") }))
	c := quick(s.Addr)
	c.VerifyTimeout = testTimeout
	c.Labels = []Label{{Name: "a", Tagged: true}, {Name: "b", Tagged: true}}
	source, err := NewConsul(c, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	l := source.Check(t.Context())[0].Labels
	if l[0].Err != nil || len(l[0].Masters) != 1 || l[1].Err == nil || !strings.Contains(l[1].Err.Error(), "service:read") {
		t.Errorf("got %+v; want the master of a, and b's denied", l)
	}
}

func TestMixedSourceIsBoth(t *testing.T) {
	t.Parallel()
	s := double(t)
	labels := []Label{{Name: "default"}, {Name: "fixed"}, {Name: "other", Service: "nobody"}}
	static, err := NewStatic(map[string]string{"fixed": "127.0.0.1:7809"}, labels[1:2], zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	c := quick(s.Addr)
	c.Labels = []Label{labels[0], labels[2]}
	consul, err := NewConsul(c, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	m, sink := Mix(static, consul, labels), &recorder{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- m.Run(ctx, sink) }()
	await(t, "both masters", func() bool {
		return slices.Contains(sink.list(), set1) && slices.Contains(sink.list(), "fixed set 127.0.0.1:7809")
	})
	await(t, "the states of all labels, in the order of the configuration", func() bool {
		l := m.Labels()
		return len(l) == 3 && l[0].Label == "default" && l[0].State == Found && l[1].Label == "fixed" && l[1].State == Found &&
			l[2].Label == "other" && l[2].State == None
	})
	if a := m.Agents(); len(a) != 1 || a[0].Address != s.Addr {
		t.Errorf("got agents %+v; want the one that is asked", a)
	}
	m.DialFailed("fixed")
	m.DialFailed("default")
	m.DialFailed("unknown")
	before := sink.confirmed("default")
	m.VerifyNow()
	await(t, "a confirmation", func() bool { return sink.confirmed("default") > before })
	if checked := m.Check(t.Context()); len(checked) != 1 || len(checked[0].Labels) != 2 {
		t.Errorf("check: got %+v; want the labels that ask Consul", checked)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: got %v; want nil", err)
	}
}

func TestLabelWithAWrongPolicyIsRefused(t *testing.T) {
	c := quick("127.0.0.1:1")
	c.Labels = []Label{{Name: "own", Policy: &Policy{FenceAfter: 999 * time.Millisecond}}}
	if _, err := NewConsul(c, zerolog.Nop()); err == nil || !strings.Contains(err.Error(), `label "own"`) {
		t.Errorf("got %v; want an error that names the label", err)
	}
}
