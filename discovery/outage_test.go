package discovery

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/discovery/consultest"
	"github.com/rosproxy/rosproxy/discovery/internal/clock"
)

// fencing is quick, with the policy to fence an outage of two seconds.
func fencing(addresses ...string) Config {
	c := quick(addresses...)
	c.OnOutage, c.FenceAfter = Fence, 2*time.Second
	return c
}

func TestOutageBeginsWithTheFirstReadThatGoesUnanswered(t *testing.T) {
	o := newOutage()
	check := func(first, answered time.Duration) {
		t.Helper()
		if f, a := o.since(); f != first || a != answered {
			t.Fatalf("got an outage since %d, the last answer to the read of %d; want %d and %d", f, a, first, answered)
		}
	}
	check(0, 0)
	o.add(10)
	check(10, 0)
	o.end(10)
	check(0, 10)
	o.add(20)
	o.add(21)
	o.add(22)
	check(20, 10)
	o.end(21) // any later answer will do for the earlier reads
	check(22, 21)
	o.end(5) // overtaken
	check(22, 21)
}

func TestLongOutageIsKeptInBoundedSpace(t *testing.T) {
	o := newOutage()
	for i := range 10 * maxUnanswered {
		o.add(time.Duration(i + 1))
	}
	if len(o.unanswered) > maxUnanswered {
		t.Errorf("got %d reads kept; want at most %d", len(o.unanswered), maxUnanswered)
	}
	if first, _ := o.since(); first != 1 {
		t.Errorf("got an outage since %d; want 1", first)
	}
	o.end(10*maxUnanswered - 1)
	if first, _ := o.since(); first != 10*maxUnanswered {
		t.Errorf("the read before the last is answered: got an outage since %d; want %d", first, 10*maxUnanswered)
	}
}

func TestFenceCutsAfterAnOutage(t *testing.T) {
	t.Parallel()
	s := double(t)
	r := start(t, fencing(s.Addr))
	r.calls(set1)
	r.heard(0)
	r.calls(set1)
	s.Stop()
	stopped := clock.SinceBoot()
	r.calls(set1, "default cut")
	r.state(Unreachable, 1)
	if until, cut := r.lease("default"), clock.SinceBoot(); until < stopped || until > cut {
		t.Errorf("stopped at %v, cut at %v: got a lease until %v; want it to have ended in between", stopped, cut, until)
	}
	s.Start()
	r.calls(set1, "default cut", set1)
	r.state(Found, 1)
	if until := r.lease("default"); until < clock.SinceBoot()-time.Minute || until < stopped+2*time.Second {
		t.Errorf("got a lease until %v; want it to have been extended", until)
	}
}

// TestConsulThatAnswersIsNeverFenced, whatever --fence-after: here reads begin
// less often than that, and some are answered late, or by one address only.
func TestConsulThatAnswersIsNeverFenced(t *testing.T) {
	for _, tc := range []struct {
		name   string
		agents int
		ill    func(*consultest.Server)
	}{
		{"reads are far apart", 1, func(*consultest.Server) {}},
		{"every other read hangs", 1, func(s *consultest.Server) {
			var mu sync.Mutex
			n := 0
			s.Inject(consistent(consultest.Fault{Name: "hang every other", Do: func(x *consultest.Exchange) (*consultest.Answer, error) {
				mu.Lock()
				n++
				odd := n%2 == 1
				mu.Unlock()
				if odd {
					<-x.Context.Done()
					return nil, x.Context.Err()
				}
				return x.Next()
			}}))
		}},
		{"one address of two is dead", 2, (*consultest.Server).Stop},
		{"one address of two hangs", 2, func(s *consultest.Server) { s.Inject(consultest.Hang()) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			all := doubles(t, tc.agents)
			c := fencing(addresses(all)...)
			c.VerifyEvery, c.VerifyTimeout = 3*time.Second, 4*time.Second
			r := start(t, c)
			r.calls(set1)
			tc.ill(all[tc.agents-1])
			for begin := clock.SinceBoot(); clock.SinceBoot()-begin < 8*time.Second; time.Sleep(10 * time.Millisecond) {
				if calls := r.list(); !slices.Equal(calls, []string{set1}) {
					t.Fatalf("got calls %q; want nothing but the master", calls)
				}
			}
			if r.lease("default") < clock.SinceBoot()-time.Second {
				t.Errorf("got a lease that ended %v ago", clock.SinceBoot()-r.lease("default"))
			}
		})
	}
}

// fencingLabel is a label of a source that does not run.
func fencingLabel(t *testing.T) *labelWatch {
	t.Helper()
	s, err := NewConsul(fencing("127.0.0.1:1"), nopLog)
	if err != nil {
		t.Fatal(err)
	}
	return s.labels[0]
}

// TestWaitingAnswerComesBeforeTheFence: both are there when the watch looks.
func TestWaitingAnswerComesBeforeTheFence(t *testing.T) {
	for range 20 { // which of them a select would take is a matter of chance
		r := &confirmations{recorder: &recorder{}}
		w := fencingLabel(t)
		named := read(says(0, 10, master(1, 10)))
		named.begun = 1
		w.main.watch.take(named)
		w.look(t.Context(), r)
		w.main.watch.outage.add(2)
		w.grace = time.Now().Add(-time.Second) // over
		named.begun = 2
		w.main.watch.take(named)
		ctx, cancel := context.WithCancel(t.Context())
		r.confirmed = cancel
		w.run(ctx, r)
		if calls := r.list(); len(calls) != 1 {
			t.Fatalf("got calls %q; want the master alone", calls)
		}
	}
}

// TestOnlyAnswersExtendALease: a process that stood still begins a read when it
// goes on, which is no answer yet.
func TestOnlyAnswersExtendALease(t *testing.T) {
	r := &recorder{}
	w := fencingLabel(t)
	named := read(says(0, 10, master(1, 10)))
	named.begun = clock.SinceBoot() - time.Minute
	w.main.watch.outage.add(named.begun)
	w.main.watch.take(named)
	w.look(t.Context(), r)
	over := r.lease("default")
	if over == 0 || over > clock.SinceBoot() {
		t.Fatalf("got a lease until %v; want one that is over", over)
	}
	w.main.watch.outage.add(clock.SinceBoot())
	w.extend(r)
	if until := r.lease("default"); until != over {
		t.Errorf("got a lease until %v; want %v still", until, over)
	}
}

// confirmations is a recorder that says when it is told that a master is confirmed.
type confirmations struct {
	*recorder
	confirmed func()
}

func (c *confirmations) Confirm(string, time.Duration) {
	if c.confirmed != nil {
		c.confirmed()
	}
}

// consistent narrows a fault to consistent reads.
func consistent(f consultest.Fault) consultest.Fault {
	return f.When(func(r *http.Request) bool { return r.URL.Query().Has("consistent") })
}

func TestMasterIsConfirmedAsLongAsConsulAnswers(t *testing.T) {
	t.Parallel()
	s := double(t)
	c := quick(s.Addr)
	c.VerifyTimeout = time.Hour
	r := start(t, c)
	r.calls(set1)
	confirmed := func() {
		t.Helper()
		now := clock.SinceBoot()
		await(t, "a confirmation", func() bool { return r.confirmed("default") > now })
	}
	confirmed()
	confirmed()
	undo := s.Inject(consistent(consultest.Hang()))
	r.heard(0) // by long polls, until the reads hang
	last := r.confirmed("default")
	failover(s)
	r.calls(set1, set2) // a long poll says so, which confirms nothing
	r.heard(0)
	if now := r.confirmed("default"); now != last {
		t.Errorf("got a confirmation as of %v; want none after %v", now, last)
	}
	undo()
	confirmed()
}

// TestReadsHaveTheirChanceBeforeTheFence: several, and none that hangs keeps its place for longer.
func TestReadsHaveTheirChanceBeforeTheFence(t *testing.T) {
	timeout := func(policies ...Policy) time.Duration {
		t.Helper()
		c := Config{Service: "sync", Addresses: []string{"127.0.0.1:1"}}
		for i := range policies {
			c.Labels = append(c.Labels, Label{Name: string(rune('a' + i)), Policy: &policies[i]})
		}
		s, err := NewConsul(c, nopLog)
		if err != nil {
			t.Fatal(err)
		}
		return s.labels[0].main.watch.config.VerifyTimeout
	}
	keep, fence := Policy{FenceAfter: time.Second}, Policy{OnOutage: Fence, FenceAfter: 2 * time.Second}
	if got := timeout(keep); got != DefaultVerifyTimeout {
		t.Errorf("without a fence: got a time-out of %v; want %v", got, DefaultVerifyTimeout)
	}
	if got := timeout(keep, fence); got != fence.FenceAfter {
		t.Errorf("got a time-out of %v; want the %v after which one of the labels is fenced", got, fence.FenceAfter)
	}
}

// TestMasterIsNeverSetOnALeaseThatIsOver: also when its host name is looked up
// after the read that ended the outage.
func TestMasterIsNeverSetOnALeaseThatIsOver(t *testing.T) {
	t.Parallel()
	s := double(t)
	dns := newFakeDNS()
	dns.set("worker.example", "127.0.0.4")
	s.Txn(func(t *consultest.Tx) { t.SetAddress("sync-1", "worker.example", 7801) })
	c := fencing(s.Addr)
	c.VerifyEvery = time.Hour
	var mu sync.Mutex
	over := 0
	r := startWith(t, c, dns.lookup, func(_ *Consul, r *recorder) {
		r.hold = func(label string) {
			calls := r.list()
			if until := r.lease(label); calls[len(calls)-1] != "default cut" && until > 0 && until < clock.SinceBoot() {
				mu.Lock()
				over++
				mu.Unlock()
			}
		}
	})
	const set = "default set 127.0.0.4:7801"
	r.calls(set)
	r.VerifyNow()
	await(t, "a lease", func() bool { return r.lease("default") > 0 })
	s.Stop()
	r.VerifyNow() // and goes unanswered
	r.calls(set, "default cut")
	s.Start()
	r.calls(set, "default cut", set)
	if over > 0 {
		t.Error("the master was set while the lease was over")
	}
}

// TestLongPollEndsNoFence: what went unanswered were reads, and who is master while
// they do is not known for sure.
func TestLongPollEndsNoFence(t *testing.T) {
	t.Parallel()
	s := double(t)
	session := s.NewSession(consultest.DeleteKeys)
	s.Lock(addressKey, "127.0.0.1:7801", session)
	c := fencing(s.Addr)
	c.FenceAfter = time.Second
	c.Labels = []Label{{Name: "default"}, {Name: "key", Leader: &LeaderKey{Key: addressKey}}}
	r := start(t, c)
	r.awaitCall(set1)
	r.awaitCall("key set 127.0.0.1:7801")
	undo := s.Inject(consultest.Hang().When(func(r *http.Request) bool { return r.URL.Query().Has("consistent") }))
	r.awaitCall("default cut")
	r.awaitCall("key cut")
	s.Lock(addressKey, "127.0.0.1:7802", session)
	failover(s)
	for _, l := range r.labels {
		await(t, "the news by a long poll", func() bool {
			v := l.main.see()
			return v.entry != nil && v.entry.value == "127.0.0.1:7802" || v.claims != nil && v.claims.candidates[0].id == "sync-2"
		})
	}
	time.Sleep(100 * time.Millisecond)
	for _, call := range r.list() {
		if strings.HasSuffix(call, "7802") {
			t.Errorf("got call %q while reads go unanswered; want none", call)
		}
	}
	undo()
	r.awaitCall(set2)
	r.awaitCall("key set 127.0.0.1:7802")
}
