package operator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/discovery/consultest"
	"github.com/rosproxy/rosproxy/discovery/fence"
	"github.com/rosproxy/rosproxy/discovery/internal/clock"
)

var beats atomic.Uint64 // an entry that is written as it is has not changed

// reportAs writes the report of a process, which has obeyed that of label pg.
func reportAs(s *consultest.Server, name string, obeyed uint64) {
	e := fence.Entry{Instance: name, PID: 7, TTL: 5, Beat: beats.Add(1), Labels: map[string]fence.State{"pg": {Obeyed: obeyed}}}
	s.SetKey(reportsAt+"/"+name+"-7-x", string(e.Encode()))
}

// elected makes somebody leader, and gives the index of that.
func elected(s *consultest.Server) uint64 {
	return s.Lock(addressKey, "127.0.0.1:7802", s.NewSession(consultest.ReleaseKeys))
}

func electionAt(all ...*consultest.Server) Election {
	return Election{Addresses: addresses(all), Prefix: reportsAt, Label: "pg", LeaderKey: addressKey}
}

func awaitFence(ctx context.Context, e Election) error {
	w, err := NewFenceWait(e)
	if err != nil {
		return err
	}
	return w.Await(ctx)
}

// fenceTakes is awaitFence, and how long that takes.
func fenceTakes(t *testing.T, e Election) (took time.Duration, err error) {
	t.Helper()
	began := time.Now()
	err = awaitFence(t.Context(), e)
	return time.Since(began), err
}

func TestFenceStandsAtOnceWhereNobodyIsBehind(t *testing.T) {
	t.Parallel()
	for name, reports := range map[string]func(s *consultest.Server, index uint64){
		"no reports":      func(*consultest.Server, uint64) {},
		"all have obeyed": func(s *consultest.Server, index uint64) { reportAs(s, "p1", index); reportAs(s, "p2", index+9) },
		"the label is in none": func(s *consultest.Server, index uint64) {
			s.SetKey(reportsAt+"/p1-7-x", `{"ttl_s":20,"labels":{"other":{"obeyed":1}}}`)
		},
		"others' keys are near":       func(s *consultest.Server, index uint64) { s.SetKey(reportsAt+"2/p1-7-x", `nonsense`) },
		"the folder has an entry":     func(s *consultest.Server, index uint64) { s.SetKey(reportsAt+"/", "") }, // as Consul's UI makes one
		"another prefix is a part of": func(s *consultest.Server, index uint64) { reportAs(s, "eu/p1", 1) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := consulDouble(t)
			reports(s, elected(s))
			s.ForgetRequests()
			if took, err := fenceTakes(t, electionAt(s)); err != nil {
				t.Errorf("got %v after %v; want the fence", err, took)
			}
			all := s.RequestsTo("/v1/kv/")
			if len(all) != 2 { // the election and the reports: nothing is waited for
				t.Errorf("got %d requests; want two", len(all))
			}
			for _, r := range all {
				if !r.Query.Has("consistent") {
					t.Errorf("got %s %s?%s; want it consistent", r.Method, r.Path, r.Query.Encode())
				}
			}
		})
	}
}

// TestFenceOfNoElectionFailsAtOnce: there is nothing that could be obeyed.
func TestFenceOfNoElectionFailsAtOnce(t *testing.T) {
	t.Parallel()
	for name, undo := range map[string]func(s *consultest.Server){
		"the key is absent":   func(s *consultest.Server) { s.DropKey(addressKey) },
		"nobody holds it":     func(s *consultest.Server) { s.Unlock(addressKey) },
		"the session is over": func(s *consultest.Server) { s.ExpireSession(s.Holder(addressKey)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := consulDouble(t)
			elected(s)
			undo(s)
			if err := awaitFence(t.Context(), electionAt(s)); err == nil || !strings.Contains(err.Error(), "nobody has been elected") {
				t.Errorf("got %v; want that nobody has been elected", err)
			}
		})
	}
}

// TestFenceThatCannotBeSeenIsNone: an answer says nothing where a report may be hidden.
func TestFenceThatCannotBeSeenIsNone(t *testing.T) {
	reports := []string{reportsAt + "/p1-7-x", reportsAt + "/p2-7-x"}
	drop := func(s *consultest.Server) { s.DropKey(reports[0]); s.DropKey(reports[1]) }
	for name, tc := range map[string]struct {
		token string
		hide  func(s *consultest.Server)
		want  string
	}{
		"one report is left out":        {"t", func(s *consultest.Server) { s.DenyKeys(reports[1]) }, "left keys out"},
		"all are":                       {"t", func(s *consultest.Server) { s.DenyKeys(reportsAt) }, "left keys out"},
		"the election may not be read":  {"t", func(s *consultest.Server) { s.DenyKeys(addressKey) }, "key:read for"},
		"the token is not known":        {"t", func(s *consultest.Server) { s.RevokeToken("t") }, "denied"},
		"empty, no token, default deny": {"", func(s *consultest.Server) { drop(s); s.SetToken("", consultest.AllRights) }, "default policy is deny"},
	} {
		t.Run(name, func(t *testing.T) {
			s := consulDouble(t)
			index := elected(s)
			reportAs(s, "p1", index)
			reportAs(s, "p2", index)
			t.Setenv("CONSUL_HTTP_TOKEN", tc.token)
			if tc.token != "" {
				s.SetToken(tc.token, consultest.AllRights)
			}
			tc.hide(s)
			took, err := fenceTakes(t, electionAt(s))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v after %v; want an error that says %q", err, took, tc.want)
			}
			if took > fenceBeyond {
				t.Errorf("took %v; want it at once", took)
			}
		})
	}
	t.Run("with a token an empty list is one", func(t *testing.T) {
		s := consulDouble(t)
		elected(s)
		t.Setenv("CONSUL_HTTP_TOKEN", "t")
		s.SetToken("t", consultest.AllRights)
		if err := awaitFence(t.Context(), electionAt(s)); err != nil {
			t.Errorf("got %v; want the fence", err)
		}
	})
}

// TestPageThatIsNotFoundIsNoEmptyList: whatever answers there is not Consul.
func TestPageThatIsNotFoundIsNoEmptyList(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	err := awaitFence(t.Context(), Election{Addresses: []string{other.Listener.Addr().String()}, Prefix: reportsAt, Label: "pg", Index: 9, Timeout: 2 * time.Second})
	if err == nil || !strings.Contains(err.Error(), "not Consul's") {
		t.Errorf("got %v; want that this is not Consul", err)
	}
}

func TestFenceStandsWhenTheLastHasObeyed(t *testing.T) {
	t.Parallel()
	s := consulDouble(t)
	index := elected(s)
	reportAs(s, "p1", index-1)
	reportAs(s, "p2", index-1)
	waiting := make(chan []FenceBehind, 100)
	e := electionAt(s)
	e.Waiting = func(b []FenceBehind) { waiting <- b }
	done := make(chan error)
	go func() { done <- awaitFence(t.Context(), e) }()
	if first := <-waiting; len(first) != 2 || first[0].Instance != "p1" || first[0].PID != 7 || first[0].Obeyed != index-1 {
		t.Errorf("got %+v waited for; want both", first)
	}
	reportAs(s, "p1", index)
	await(t, "one to be waited for", func() bool { b := <-waiting; return len(b) == 1 && b[0].Instance == "p2" })
	select {
	case err := <-done:
		t.Fatalf("got %v while one is behind; want it waited for", err)
	default:
	}
	s.DropKey(reportsAt + "/p2-7-x") // its last connection has ended
	if err := <-done; err != nil {
		t.Errorf("got %v; want the fence", err)
	}
}

// TestDeadReportIsWaitedForAsLongAsItsTTL, and taken away then.
func TestDeadReportIsWaitedForAsLongAsItsTTL(t *testing.T) {
	t.Parallel()
	s := consulDouble(t)
	index := elected(s)
	reportAs(s, "dead", index-1)
	reportAs(s, "well", index)
	took, err := fenceTakes(t, electionAt(s))
	if err != nil || took < fence.DeadAfter(fence.MinTTL) {
		t.Errorf("got %v after %v; want the fence after %v", err, took, fence.DeadAfter(fence.MinTTL))
	}
	if keys := keysOf(t, s.Client()); !slices.Equal(keys, []string{reportsAt + "/well-7-x"}) {
		t.Errorf("got reports %q; want that of the dead one taken away", keys)
	}
}

// TestReportThatIsWrittenWhileItIsTakenForDeadIsNot: it has lived to the last moment.
func TestReportThatIsWrittenWhileItIsTakenForDeadIsNot(t *testing.T) {
	t.Parallel()
	s := consulDouble(t)
	index := elected(s)
	reportAs(s, "slow", index-1)
	var wrote sync.Once
	s.Inject(consultest.Fault{Name: "late write", Do: func(x *consultest.Exchange) (*consultest.Answer, error) { return x.Next() }}.
		When(func(r *http.Request) bool {
			if r.Method == http.MethodDelete {
				wrote.Do(func() { reportAs(s, "slow", index-1) })
			}
			return false
		}))
	e := electionAt(s)
	e.Timeout = fence.DeadAfter(fence.MinTTL) + 2*time.Second
	err := awaitFence(t.Context(), e)
	if behind, ok := errors.AsType[*FenceError](err); !ok || len(behind.Behind) != 1 {
		t.Errorf("got %v; want the report still waited for", err)
	}
	if keys := keysOf(t, s.Client()); len(keys) != 1 {
		t.Errorf("got reports %q; want it left", keys)
	}
}

// TestReportThatLivesAndDoesNotObeyIsNamedWhenTheTimeIsUp: it is not dead.
func TestReportThatLivesAndDoesNotObeyIsNamedWhenTheTimeIsUp(t *testing.T) {
	t.Parallel()
	s := consulDouble(t)
	index := elected(s)
	s.SetKey(reportsAt+"/odd", "nonsense")
	ctx, cancel := context.WithCancel(t.Context())
	var beating sync.WaitGroup
	beating.Go(func() {
		for ctx.Err() == nil {
			reportAs(s, "p1", index-1)
			time.Sleep(200 * time.Millisecond)
		}
	})
	defer beating.Wait()
	defer cancel()
	e := electionAt(s)
	e.Timeout = fence.DeadAfter(fence.MinTTL) + time.Second
	took, err := fenceTakes(t, e)
	behind, ok := errors.AsType[*FenceError](err)
	if !ok || took < e.Timeout {
		t.Fatalf("got %v after %v; want a FenceError after %v", err, took, e.Timeout)
	}
	if behind.Label != "pg" || behind.Index != index || len(behind.Behind) != 2 {
		t.Fatalf("got %+v; want both of index %d", behind, index)
	}
	odd, p1 := behind.Behind[0], behind.Behind[1]
	if odd.Key != reportsAt+"/odd" || odd.Instance != "" || odd.Unchanged < fence.MinTTL || !strings.Contains(odd.Why, "cannot be understood") {
		t.Errorf("got %+v; want the one that cannot be understood", odd)
	}
	if p1.Instance != "p1" || p1.PID != 7 || p1.Obeyed != index-1 || p1.Unchanged > fence.MinTTL {
		t.Errorf("got %+v; want the one that lives", p1)
	}
}

// TestDeadReportThatMayNotBeTakenAwaySaysSo: the token may read, and not write.
func TestDeadReportThatMayNotBeTakenAwaySaysSo(t *testing.T) {
	t.Parallel()
	s := consulDouble(t)
	reportAs(s, "dead", elected(s)-1)
	s.Inject(consultest.Status(http.StatusForbidden, "Permission denied").When(func(r *http.Request) bool { return r.Method == http.MethodDelete }))
	e := electionAt(s)
	e.Timeout = fence.DeadAfter(fence.MinTTL) + 4*time.Second
	err := awaitFence(t.Context(), e)
	if behind, ok := errors.AsType[*FenceError](err); !ok || len(behind.Behind) != 1 || !strings.Contains(behind.Behind[0].Why, "key:write") {
		t.Errorf("got %v, %+v; want that the token lacks key:write", err, behind)
	}
}

// TestFenceOutlastsAConsulWithoutALeader: it is asked until it answers.
func TestFenceOutlastsAConsulWithoutALeader(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]consultest.Fault{
		"no leader":        consultest.Status(http.StatusInternalServerError, "No cluster leader"),
		"frozen":           consultest.Hang(),
		"connection reset": consultest.Reset(),
		"says so":          consultest.NoLeader(time.Second),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := consulDouble(t)
			index := elected(s)
			reportAs(s, "p1", index-1)
			var began atomic.Bool
			e := electionAt(s)
			e.Waiting = func([]FenceBehind) { began.Store(true) }
			undo := s.Inject(fault.On("/v1/kv/"))
			done := make(chan error)
			go func() { done <- awaitFence(t.Context(), e) }()
			time.Sleep(300 * time.Millisecond)
			undo()
			await(t, "the reports to be read", began.Load)
			undo = s.Inject(fault.On("/v1/kv/"))
			time.Sleep(300 * time.Millisecond)
			reportAs(s, "p1", index)
			undo()
			if err := <-done; err != nil {
				t.Errorf("got %v; want the fence", err)
			}
		})
	}
}

func TestFenceIsSeenPastAnAgentThatIsNotWell(t *testing.T) {
	t.Parallel()
	for name, ill := range map[string]func(*consultest.Server){
		"dead":   (*consultest.Server).Stop,
		"hung":   func(s *consultest.Server) { s.Inject(consultest.Hang()) },
		"denied": func(s *consultest.Server) { s.Inject(consultest.Status(http.StatusForbidden, "ACL not found")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := twoDoubles(t)
			index := elected(all[0])
			reportAs(all[0], "p1", index-1)
			ill(all[0])
			done := make(chan error)
			e := electionAt(all...)
			e.Waiting = func([]FenceBehind) { reportAs(all[1], "p1", index) }
			go func() { done <- awaitFence(t.Context(), e) }()
			if err := <-done; err != nil {
				t.Errorf("got %v; want the fence", err)
			}
		})
	}
}

// TestConsulThatNeverAnswersIsNoFence.
func TestConsulThatNeverAnswersIsNoFence(t *testing.T) {
	t.Parallel()
	s := consulDouble(t)
	elected(s)
	s.Inject(consultest.Hang())
	e := electionAt(s)
	e.Timeout = 500 * time.Millisecond
	took, err := fenceTakes(t, e)
	if err == nil || took < e.Timeout || !strings.Contains(err.Error(), s.Addr) {
		t.Errorf("got %v after %v; want an error with the address after %v", err, took, e.Timeout)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("interrupted"))
	if err := awaitFence(ctx, electionAt(s)); err == nil || err.Error() != "interrupted" {
		t.Errorf("got %v; want the cause of the end", err)
	}
}

// TestTimeOfAFenceIsTheLongestTTLAndTenSeconds, of the reports of the label, and never less than a dead one takes.
func TestTimeOfAFenceIsTheLongestTTLAndTenSeconds(t *testing.T) {
	t.Parallel()
	report := func(label string, ttl float64) fence.Found {
		return fence.Found{Key: label + fmt.Sprint(ttl), Value: fence.Entry{TTL: ttl, Labels: map[string]fence.State{label: {}}}.Encode()}
	}
	for _, tc := range []struct {
		given time.Duration
		ttls  []float64 // of the label; nil: not read
		want  time.Duration
	}{
		{0, nil, 30 * time.Second},
		{0, []float64{}, 10 * time.Second},
		{0, []float64{5, 20, 10}, 30 * time.Second},
		{0, []float64{3600}, 3674 * time.Second},
		{3 * time.Second, nil, 3 * time.Second},
		{3 * time.Second, []float64{20}, 3 * time.Second},
	} {
		w := newFenceWait(Election{Label: "pg", Index: 9, Timeout: tc.given}, nil)
		if tc.ttls != nil {
			found := []fence.Found{report("other", 1800)}
			for _, ttl := range tc.ttls {
				found = append(found, report("pg", ttl))
			}
			w.state.Look(0, found)
			w.read = w.began
		}
		if got := w.left() + clock.SinceBoot() - w.began; got < tc.want || got > tc.want+time.Second {
			t.Errorf("--timeout %v, TTLs %v: got %v; want %v", tc.given, tc.ttls, got, tc.want)
		}
	}
}

func TestElectionThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	for want, e := range map[string]Election{
		"the prefix ends with a slash": {Prefix: "a/", Label: "pg", Index: 1},
		"no label":                     {Prefix: "a", Index: 1},
		"either the index":             {Prefix: "a", Label: "pg"},
		"or the leader key":            {Prefix: "a", Label: "pg", Index: 1, LeaderKey: "k"},
		"begins with a slash":          {Prefix: "a", Label: "pg", LeaderKey: "/k"},
		"below zero":                   {Prefix: "a", Label: "pg", Index: 1, Timeout: -1},
	} {
		if err := awaitFence(t.Context(), e); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v; want that %s", e, err, want)
		}
	}
}
