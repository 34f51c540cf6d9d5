package discovery

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/discovery/consultest"
	"github.com/rosproxy/rosproxy/discovery/internal/clock"
)

func TestReadsAreScheduled(t *testing.T) {
	now := time.Unix(1e9, 0)
	const every, sooner = 10 * time.Second, time.Second
	polled := now
	s := schedule{last: now, every: every}
	next := func(step string, want time.Duration, wantOK bool) {
		t.Helper()
		if wait, ok := s.next(now, sooner, polled); wait != want || ok != wantOK {
			t.Fatalf("%s: got %v, %v; want %v, %v", step, wait, ok, want, wantOK)
		}
	}
	next("all is well", every, true)
	now = now.Add(every)
	next("it is time", 0, true)
	first := now
	s.begin(now, every)
	next("one is unanswered", sooner, true)
	now = now.Add(10 * time.Millisecond)
	s.end(first, true)
	next("it is answered in time", every-10*time.Millisecond, true)

	first = now
	s.begin(now, every)
	s.wanted = true
	s.begin(now, every)
	s.end(first, true)
	s.end(first, true)
	polled = first.Add(-1)
	next("one was wanted beside it, and both are answered", every, true)

	s.wanted = true
	next("one is wanted", 0, true)
	s.begin(now, every)
	for range maxReads - 1 {
		next("one hangs", sooner, true)
		now = now.Add(sooner)
		s.begin(now, every)
	}
	next("as many as may be hang", 0, false)
	s.wanted = true
	next("and one is wanted", 0, false)
	s.end(now.Add(-3*sooner), false)
	next("there is room for it", 0, true)
	good := now
	s.begin(now, every)
	s.end(good, true)
	s.end(now.Add(-time.Millisecond), false)
	s.end(now.Add(-time.Millisecond), false)
	s.end(now.Add(-time.Millisecond), false)
	next("the long poll is from before", sooner, true)
	polled = good.Add(-1)
	next("the long poll is from just before", sooner, true)
	polled = good
	next("the long poll is from after", every, true)

	now = now.Add(every)
	s.begin(now, every)
	s.end(now, false)
	next("one failed", sooner, true)
	s.earliest = now.Add(every)
	next("there was no place", every, true)
}

func TestPlacesAreBounded(t *testing.T) {
	p := make(semaphore, 2)
	for i := range 3 {
		if got, want := p.take(), i < 2; got != want {
			t.Fatalf("place %d of 2: got %v; want %v", i+1, got, want)
		}
	}
	p.give()
	if !p.take() {
		t.Error("want the place that was given back")
	}
}

// reading counts the consistent reads that a double has in flight.
func reading(s *consultest.Server) int {
	n := 0
	for _, q := range s.Requests() {
		if q.Query.Has("consistent") && q.Took == 0 {
			n++
		}
	}
	return n
}

// TestHangingReadsKeepNoOtherFromStarting: a failover is seen while four hang.
func TestHangingReadsKeepNoOtherFromStarting(t *testing.T) {
	t.Parallel()
	s := double(t)
	c := quick(s.Addr)
	c.Wait, c.VerifyEvery, c.VerifyTimeout = time.Hour, 2*time.Second, 4*time.Second
	r := start(t, c)
	r.calls(set1)
	// All that is asked hangs, as in a leader that is frozen, until there is another one.
	s.Inject(consultest.Hang().Times(4)) // the long poll that waits, and three reads
	await(t, "four requests that hang", func() bool { return reading(s) == 3 && s.LongPolls() == 1 })
	failover(s)
	r.calls(set1, set2)
	if n := reading(s); n == 0 {
		t.Error("the reads that hang have ended, and proved nothing")
	}
}

// TestServerThatHangsBehindANameIsPassedBy: the next read goes to another one,
// long before the first one's time is up.
func TestServerThatHangsBehindANameIsPassedBy(t *testing.T) {
	t.Parallel()
	s := double(t)                                            // on 127.0.0.1
	hung, err := net.Listen("tcp", "127.0.0.2:"+port(s.Addr)) // accepts, and never answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hung.Close() })
	dns := newFakeDNS()
	dns.set("consul.example", "127.0.0.2", "127.0.0.1")
	c := quick("consul.example:" + port(s.Addr))
	c.Wait, c.VerifyTimeout = time.Hour, time.Hour
	r := startWith(t, c, dns.lookup)
	r.calls(set1)
}

func TestReadsInFlightAreBounded(t *testing.T) {
	t.Parallel()
	s := double(t)
	c := quick(s.Addr)
	c.Labels = nil
	for i := range 2 * maxExtra {
		c.Labels = append(c.Labels, Label{Name: fmt.Sprintf("l%d", i), Tags: []string{fmt.Sprintf("t%d", i)}})
	}
	c.VerifyEvery, c.VerifyTimeout = 10*time.Millisecond, time.Hour
	s.Inject(consistent(consultest.Hang()))
	r := start(t, c)
	const want = 2*maxExtra + maxExtra // one of each question, and the extra ones
	await(t, fmt.Sprintf("%d reads", want), func() bool { return reading(s) >= want })
	for range 20 {
		r.VerifyNow()
		time.Sleep(10 * time.Millisecond)
	}
	byLabel := make(map[string]int)
	for _, q := range s.Requests() {
		if q.Query.Has("consistent") && q.Took == 0 {
			byLabel[strings.Join(q.Query["tag"], " ")]++
		}
	}
	n := reading(s)
	if n != want {
		t.Errorf("got %d reads in flight; want %d", n, want)
	}
	if most := n + s.LongPolls(); most > c.Connections() {
		t.Errorf("got %d requests in flight; want at most the %d that Connections says", most, c.Connections())
	}
	for tags, n := range byLabel {
		if n > maxReads {
			t.Errorf("%s: got %d reads in flight; want at most %d", tags, n, maxReads)
		}
	}
}

func TestVerifyNowReadsAtOnce(t *testing.T) {
	t.Parallel()
	all := doubles(t, 2)
	c := quick(addresses(all)...)
	c.VerifyEvery = time.Hour
	c.Labels = []Label{{Name: "default"}, {Name: "b", Tags: []string{"role=slave"}}}
	r := start(t, c)
	await(t, "both labels", func() bool { return len(r.list()) == 2 })
	reads := func() (n int) {
		for _, s := range all {
			for _, q := range s.Requests() {
				if q.Query.Has("consistent") {
					n++
				}
			}
		}
		return n
	}
	before, now := reads(), clock.SinceBoot()
	r.VerifyNow()
	await(t, "a read of each question at each address", func() bool { return reads() >= before+4 })
	await(t, "a confirmation", func() bool { return r.confirmed("default") > now })
	for range 100_000 { // a caller that does nothing else
		r.VerifyNow()
	}
	if n := reads(); n > before+1000 {
		t.Errorf("got %d reads; want no flood", n-before)
	}
}

// changing answers every long poll at once, with an index that has risen by one.
func changing(t *testing.T) (address string, polls *atomic.Int64) {
	polls = new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		index, _ := strconv.ParseInt(q.URL.Query().Get("index"), 10, 64)
		if index > 0 {
			polls.Add(1)
		}
		w.Header().Set("X-Consul-Index", strconv.FormatInt(max(index+1, polls.Load()), 10))
		w.Write(cluster(2))
	}))
	t.Cleanup(s.Close)
	return s.URL, polls
}

// TestServiceThatAlwaysChangesWakesNotAllTheTime: 20 times a second, and 20 times more in a burst.
func TestServiceThatAlwaysChangesWakesNotAllTheTime(t *testing.T) {
	t.Parallel()
	address, polls := changing(t)
	begin := time.Now()
	start(t, quick(address))
	await(t, "many polls", func() bool { return polls.Load() > 30 })
	time.Sleep(500 * time.Millisecond)
	n := polls.Load()
	if most := 21 + int64(20*time.Since(begin).Seconds()); n > most {
		t.Errorf("got %d long polls in %v; want at most %d", n, time.Since(begin), most)
	}
}

// TestLongPollMayTakeASixteenthMoreThanItsWait, as Consul's servers let it.
func TestLongPollMayTakeASixteenthMoreThanItsWait(t *testing.T) {
	t.Parallel()
	const wait = time.Second
	var polls atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Query().Has("index") {
			select {
			case <-time.After(wait + wait/16):
			case <-q.Context().Done():
			}
		}
		w.Header().Set("X-Consul-Index", "7")
		fmt.Fprint(w, "[]")
		if q.URL.Query().Has("index") {
			polls.Add(1)
		}
	}))
	t.Cleanup(s.Close)
	c := quick(s.URL)
	c.Wait, c.VerifyTimeout = wait, testTimeout
	r := start(t, c)
	for range 2 { // each of which would have been an error
		polled := polls.Load()
		await(t, "a long poll that took its time", func() bool { return polls.Load() > polled })
	}
	if a := r.agent(0); a.Errors > 0 {
		t.Errorf("got %d errors, the last %q; want none", a.Errors, a.Error)
	}
	for _, d := range []time.Duration{time.Second, 10 * time.Second, 5 * time.Minute} {
		if got := (Config{Wait: d}).pollTimeout(); got < d+d/16+time.Second {
			t.Errorf("a wait of %v: got a deadline of %v; want at least a second more than the server may take", d, got)
		}
	}
}

// TestIndexThatGoesBackIsPolledFromTheBeginningAtOnce, without the pause that follows errors.
func TestIndexThatGoesBackIsPolledFromTheBeginningAtOnce(t *testing.T) {
	t.Parallel()
	s := double(t)
	c := quick(s.Addr)
	c.Wait, c.Backoff, c.BackoffMax = 20*time.Millisecond, 1000*time.Hour, 1000*time.Hour
	r := start(t, c)
	r.calls(set1)
	s.Inject(consultest.IndexBack(1).When(func(r *http.Request) bool { return r.URL.Query().Has("index") }).Times(1))
	await(t, "an index reset", func() bool { return r.agent(0).IndexResets > 0 })
	s.ForgetRequests()
	await(t, "long polls again", func() bool { with, _ := nearPolls(s); return with > 1 })
}

// nearPolls counts the long polls of a double with near=_agent, and without.
func nearPolls(s *consultest.Server) (with, without int) {
	for _, q := range s.Requests() {
		switch {
		case !q.Blocking():
		case q.Query.Has("near"):
			with++
		default:
			without++
		}
	}
	return with, without
}

// TestServerThatRefusesNearIsAskedWithItOnce, and again once it was restarted.
func TestServerThatRefusesNearIsAskedWithItOnce(t *testing.T) {
	t.Parallel()
	s := double(t)
	undo := s.Inject(consultest.NearUnsupported())
	c := quick(s.Addr)
	c.Wait = 50 * time.Millisecond
	r := start(t, c)
	await(t, "many long polls without near", func() bool { _, without := nearPolls(s); return without > 5 })
	if with, _ := nearPolls(s); with != 1 {
		t.Errorf("got %d long polls with near; want one", with)
	}
	s.Stop()
	await(t, "errors", func() bool { return r.agent(0).Errors > 3 })
	undo() // who comes back is newer
	s.ForgetRequests()
	s.Start()
	await(t, "a long poll with near", func() bool { with, _ := nearPolls(s); return with > 0 })
}

// TestServerThatRefusesEverythingIsAskedWithNearAgain: near was not the reason.
func TestServerThatRefusesEverythingIsAskedWithNearAgain(t *testing.T) {
	t.Parallel()
	s := double(t)
	r := start(t, quick(s.Addr))
	r.calls(set1)
	undo := s.Inject(consultest.Status(http.StatusBadRequest, "no").On("/v1/health/"))
	await(t, "errors", func() bool { return r.agent(0).Errors > 3 })
	s.ForgetRequests()
	undo()
	await(t, "a long poll with near", func() bool { with, _ := nearPolls(s); return with > 0 })
}

func TestNoHurryOnceAnOutageIsFenced(t *testing.T) {
	s := double(t)
	c := fencing(s.Addr)
	c.VerifyTimeout = 100 * time.Millisecond
	src, err := NewConsul(c, nopLog)
	if err != nil {
		t.Fatal(err)
	}
	w := src.labels[0].main.watch
	p := newPoller(w, src.agents[0])
	if d := p.sooner(); d > 25*time.Millisecond {
		t.Errorf("got %v until the next read; want a quarter of the time-out at most", d)
	}
	w.outage.add(clock.SinceBoot() - time.Hour)
	if d := p.sooner(); d < 500*time.Millisecond {
		t.Errorf("once fenced: got %v until the next read; want no hurry", d)
	}
}

// stopsBetween is a context that ends just after it was seen not to have ended.
type stopsBetween struct {
	context.Context
	stop func()
	seen bool
}

func (c *stopsBetween) Err() error {
	if c.seen {
		return context.Canceled
	}
	c.seen = true
	c.stop()
	return nil
}

// TestQuestionThatIsAskedNoMoreIsNoTrouble, even if an answer to it comes while it is given up.
func TestQuestionThatIsAskedNoMoreIsNoTrouble(t *testing.T) {
	s, err := NewConsul(quick("127.0.0.1:1"), zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	base, cancel := context.WithCancel(t.Context())
	sub := s.subscribe(interest{question: aboutKey("", "app/member")}, Config{}, make(chan struct{}, 1))
	ctx := &stopsBetween{Context: base, stop: func() { s.unsubscribe(sub); cancel() }}
	if _, ok := newPoller(sub.watch, s.agents[0]).ask(ctx, query{consistent: true, timeout: time.Second}); ok {
		t.Error("got it asked on; want it over")
	}
	if h := s.agents[0].health; len(h.failing) != 0 {
		t.Errorf("got trouble %v kept of a question that nobody asks; want none", h.failing)
	}
}
