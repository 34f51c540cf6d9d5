package discovery

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/consultest"
	"github.com/rosproxy/rosproxy/discovery/consultest/realconsul"
	"github.com/rosproxy/rosproxy/discovery/internal/clock"
)

// reads are the consistent reads of services that s was asked for: whole ones,
// those of the index alone, and the most of these in a row.
func reads(s *consultest.Server) (whole, indexOnly, inARow int) {
	row := 0
	for _, r := range s.RequestsTo("/v1/health/") {
		switch {
		case !r.Query.Has("consistent"):
			continue
		case slices.Contains(r.Query["tag"], tagOfNobody):
			indexOnly++
			row++
			inARow = max(inARow, row)
		default:
			whole++
			row = 0
		}
	}
	return whole, indexOnly, inARow
}

// crowd registers so many masters, of a label each, that the answer is long.
func crowd(s *consultest.Server, n int) {
	for i := range n {
		s.Register(consultest.Service{ID: fmt.Sprintf("crowd-%d", i), Name: "sync", Port: 9000 + i, Tags: []string{"role=master", fmt.Sprintf("label=l%d", i)}})
	}
}

func TestLongAnswersAreConfirmedByTheirIndex(t *testing.T) {
	t.Parallel()
	s := double(t)
	s.SetTags("sync-1", "role=master", "label=a")
	s.SetTags("sync-2", "role=slave", "label=a")
	crowd(s, 300)
	c := quick(s.Addr)
	c.Labels = []Label{{Name: "a", Tagged: true}, {Name: "l1", Tagged: true}}
	c.VerifyEvery = 200 * time.Millisecond // a read that takes longer, on a busy machine, is followed by whole ones
	r := start(t, c)
	r.awaitCall("a set 127.0.0.1:7801")
	await(t, "most reads of the index alone", func() bool { _, n, row := reads(s); return n > wholeEvery && row > wholeEvery/2 })
	if _, _, row := reads(s); row >= wholeEvery {
		t.Errorf("got %d reads of the index alone in a row; want at least one whole in %d", row, wholeEvery)
	}
	before := r.confirmed("a")
	await(t, "confirmations by the index", func() bool { return r.confirmed("a") > before })

	// A change that the long poll does not tell is found by the index.
	undo := s.Inject(consultest.Hang().When(func(r *http.Request) bool { return r.URL.Query().Has("index") }))
	s.Txn(func(t *consultest.Tx) {
		t.SetTags("sync-1", "role=slave", "label=a")
		t.SetTags("sync-2", "role=master", "label=a")
	})
	r.awaitCall("a set 127.0.0.1:7802")
	undo()
}

// TestIndexAloneIsReadOnlyWhileAllIsWell: whoever wants to know more wants the whole answer.
func TestIndexAloneIsReadOnlyWhileAllIsWell(t *testing.T) {
	src, err := NewConsul(quick("127.0.0.1:1"), nopLog)
	if err != nil {
		t.Fatal(err)
	}
	w := src.labels[0].main.watch
	p := newPoller(w, src.agents[0])
	w.known[0][1].length = manyBytes
	for _, c := range []struct {
		what   string
		s      schedule
		before int
		want   bool
	}{
		{"all is well", schedule{}, wholeEvery - 2, true},
		{"it is the turn of a whole one", schedule{}, wholeEvery - 1, false},
		{"one is wanted", schedule{wanted: true}, 0, false},
		{"one went unanswered", schedule{trouble: true}, 0, false},
		{"one is in flight", schedule{inFlight: 1}, 0, false},
	} {
		if got := p.isIndexEnough(&c.s, c.before); got != c.want {
			t.Errorf("%s: got the index alone %v; want %v", c.what, got, c.want)
		}
	}
	if w.known[0][1].length--; p.isIndexEnough(&schedule{}, 0) {
		t.Error("got the index alone read where the answer is short")
	}
}

func TestShortAnswersAreAlwaysReadWhole(t *testing.T) {
	t.Parallel()
	s := double(t)
	r := start(t, quick(s.Addr))
	r.calls(set1)
	r.heard(0)
	await(t, "some reads", func() bool { n, _, _ := reads(s); return n > 5 })
	if _, n, _ := reads(s); n > 0 {
		t.Errorf("got %d reads of the index alone; want none", n)
	}
}

// TestIndexAloneConfirmsTheLastWholeRead, and nothing else.
func TestIndexAloneConfirmsTheLastWholeRead(t *testing.T) {
	w := newWatch(1, question{service: "sync"}, quick().withDefaults(), needs{}, []*agent{{health: newHealth("", nopLog)}}, nopLog)
	s := &subscription{changed: make(chan struct{}, 1)}
	w.join(s)
	index := func(n uint64) answer { return read(answer{kind: found, indexOnly: true, index: n}) }
	take := func(a answer) {
		if a.consistent {
			a.begun = clock.SinceBoot()
		}
		w.take(a)
	}
	take(index(10))
	if s.see().kind != unknown || len(w.verify[0]) != 1 {
		t.Fatal("got an index alone taken for an answer; want the whole one asked for")
	}
	<-w.verify[0]
	take(read(says(0, 10, master(1, 10))))
	first := s.see()
	take(index(10))
	if v := s.see(); v.begun <= first.begun || len(w.verify[0]) != 0 {
		t.Errorf("got view %+v after %+v; want it confirmed", v, first)
	}
	take(polled(10, says(0, 11, master(2, 11))))
	confirmed := s.see().begun
	take(index(11)) // that of a long poll, which no read has confirmed
	if v := s.see(); v.begun != confirmed || len(w.verify[0]) != 1 {
		t.Errorf("got view %+v; want the whole answer asked for", v)
	}
}

// TestIndexAloneConfirmsTheLastReadThatCounted, whatever an address that lags has said since.
func TestIndexAloneConfirmsTheLastReadThatCounted(t *testing.T) {
	agents := []*agent{{health: newHealth("", nopLog)}, {health: newHealth("", nopLog)}}
	w := newWatch(1, question{service: "sync"}, quick().withDefaults(), needs{}, agents, nopLog)
	s := &subscription{changed: make(chan struct{}, 1)}
	w.join(s)
	now := time.Now()
	for _, a := range []answer{says(0, 11, master(2, 11)), says(1, 10, master(1, 10)), {kind: found, indexOnly: true, index: 11}} {
		now = now.Add(time.Second)
		a.consistent, a.began, a.arrived, a.begun = true, now, now, clock.SinceBoot()
		w.take(a)
		if len(w.verify[0]) != 0 {
			t.Fatalf("after %+v: got the whole answer asked for; want it confirmed", a)
		}
	}
	if v := s.see(); v.arrived.Equal(now) || v.begun == 0 || v.claims.candidates[0] != master(2, 11) {
		t.Errorf("got view %+v; want master 2 confirmed", v)
	}
}

// TestRealConsulsIndexRisesWithEveryChange of a service, also in the answer that
// lists none of its instances.
func TestRealConsulsIndexRisesWithEveryChange(t *testing.T) {
	a := realconsul.StartDev(t)
	register(t, a, 1, "master")
	src, err := NewConsul(realQuick(a.Addr), nopLog)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(indexOnly bool) answer {
		return src.agents[0].ask(t.Context(), query{question: aboutService("", "sync", masterTags), consistent: true, indexOnly: indexOnly, timeout: testTimeout})
	}
	last := ask(true)
	for _, change := range []struct { // in order: what ends has begun before
		what string
		make func()
	}{
		{"a tag", func() { register(t, a, 1, "slave") }},
		{"another instance", func() { register(t, a, 2, "slave") }},
		{"its end", func() {
			retry(t, "deregister", func() error {
				_, err := a.Client().Catalog().Deregister(&api.CatalogDeregistration{Node: worker(2, "").Node}, nil)
				return err
			})
		}},
	} {
		change.make()
		now, whole := ask(true), ask(false)
		if now.err != nil || now.index <= last.index || now.index != whole.index {
			t.Errorf("after a change of %s: got index %d (%v), of the whole answer %d; want the same, and more than %d", change.what, now.index, now.err, whole.index, last.index)
		}
		last = now
	}
}
