package operator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/consultest/realconsul"
	"github.com/rosproxy/rosproxy/discovery/datacenter"
	"github.com/rosproxy/rosproxy/discovery/fence"
	"github.com/rosproxy/rosproxy/discovery/internal/waiting"
)

const dc1, dc2 = realconsul.DC1, realconsul.DC2

// stage is a pair of data centres with an entry and reports of its own.
type stage struct {
	*testing.T
	pair    *realconsul.Pair
	key     string
	reports string

	mu   sync.Mutex
	told []string
}

var stages, callers atomic.Uint64

func newStage(t *testing.T, p *realconsul.Pair) *stage {
	n := stages.Add(1)
	return &stage{T: t, pair: p, key: fmt.Sprintf("active/%d", n), reports: fmt.Sprintf("reports/%d", n)}
}

func (s *stage) agents() []string {
	return []string{s.pair.DC1.Addr, s.pair.DC2.Addr}
}

// activation is one of target.
func (s *stage) activation(target string) Activation {
	return Activation{
		Addresses: s.agents(), Datacenters: []string{dc1, dc2}, Key: s.key, Prefixes: []string{s.reports}, TTL: fence.MinTTL,
		Target: target, By: fmt.Sprintf("caller %d", callers.Add(1)), Timeout: 20 * time.Second,
		Tell: func(what string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.told = append(s.told, what)
		},
	}
}

func (s *stage) must(a Activation) Activated {
	s.Helper()
	out, err := Activate(s.Context(), a)
	if err != nil {
		s.Fatalf("activate %s: %v", a.Target, err)
	}
	return out
}

// agentIn answers for dc by itself.
func (s *stage) agentIn(dc string) *realconsul.Agent {
	if dc == dc1 {
		return s.pair.DC1
	}
	return s.pair.DC2
}

func (s *stage) put(dc, key, value string) {
	s.Helper()
	retry(s.T, "write "+key, func() error {
		_, err := s.agentIn(dc).Client().KV().Put(&api.KVPair{Key: key, Value: []byte(value)}, nil)
		return err
	})
}

func (s *stage) get(dc, key string) string {
	s.Helper()
	value := ""
	retry(s.T, "read "+key, func() error {
		pair, _, err := s.agentIn(dc).Client().KV().Get(key, &api.QueryOptions{RequireConsistent: true})
		if pair != nil {
			value = string(pair.Value)
		}
		return err
	})
	return value
}

func (s *stage) remove(dc, key string) {
	s.Helper()
	if _, err := s.agentIn(dc).Client().KV().Delete(key, nil); err != nil {
		s.Fatal(err)
	}
}

// want checks the entries in both data centres.
func (s *stage) want(active string, term uint64, without ...string) {
	s.Helper()
	for _, dc := range []string{dc1, dc2} {
		s.wantIn(dc, active, term, without...)
	}
}

func (s *stage) wantIn(dc, active string, term uint64, without ...string) {
	s.Helper()
	want := datacenter.Entry{Active: active, Term: term, Without: without}
	if e, err := datacenter.Parse([]byte(s.get(dc, s.key))); err != nil || !e.Equal(want) {
		s.Errorf("entry in %s: got %q, %v; want %s", dc, s.get(dc, s.key), err, want.Encode())
	}
}

// report has an instance report term in dc.
func (s *stage) report(dc, instance string, term uint64) (key string) {
	s.Helper()
	e := fence.Entry{Instance: instance, PID: 7, TTL: 5, Beat: beats.Add(1), Labels: map[string]fence.State{"default": {Term: term}, "static": {}}}
	key = s.reports + "/" + instance + "-7-x"
	s.put(dc, key, string(e.Encode()))
	return key
}

func (s *stage) wantError(err error, texts ...string) {
	s.Helper()
	for _, text := range texts {
		if err == nil || !strings.Contains(err.Error(), text) {
			s.Errorf("got %v; want an error with %q", err, text)
		}
	}
}

// TestActivation goes by nobody, whom every report must have seen, whatever the
// entries were.
func TestActivation(t *testing.T) {
	t.Parallel()
	pair := realconsul.StartPair(t)
	for name, test := range map[string]func(*stage){
		"the first, again, another and back": func(s *stage) {
			if out := s.must(s.activation(dc2)); !out.Changed || len(out.Unverified) > 0 {
				s.Errorf("got %+v; want it changed and verified", out)
			}
			s.want(dc2, 3)
			if out := s.must(s.activation(dc2)); out.Changed {
				s.Error("what is active already was changed")
			}
			s.want(dc2, 3)
			s.must(s.activation(dc1))
			s.want(dc1, 6)
			s.must(s.activation(dc2))
			s.want(dc2, 9)
		},
		"a report that is behind is waited for": func(s *stage) {
			s.must(s.activation(dc1))
			s.report(dc1, "p1", 3)
			s.report(dc2, "p2", 3)
			a, behind := s.activation(dc2), make(chan string, 100)
			a.Waiting = func(all []ReportBehind) {
				for _, b := range all {
					select {
					case behind <- b.Datacenter + " " + b.Instance:
					default:
					}
				}
			}
			done := make(chan error, 1)
			go func() { _, err := Activate(s.Context(), a); done <- err }()
			for seen := map[string]bool{}; len(seen) < 2; {
				seen[<-behind] = true
			}
			s.want("", 5)
			s.report(dc2, "p2", 5)
			select {
			case err := <-done:
				s.Fatalf("ended with %v while a report in the other data centre was behind", err)
			case <-time.After(200 * time.Millisecond):
			}
			s.report(dc1, "p1", 5)
			if err := <-done; err != nil {
				s.Fatal(err)
			}
			s.want(dc2, 6)
		},
		"a report that is dead is taken away": func(s *stage) {
			s.must(s.activation(dc1))
			key := s.report(dc2, "p1", 3)
			s.must(s.activation(dc2))
			if got := s.get(dc2, key); got != "" {
				s.Errorf("got the report %s; want it taken away", got)
			}
		},
		"a report that stays behind ends it": func(s *stage) {
			s.must(s.activation(dc1))
			stop := s.keepReporting(dc1, "p1", 3)
			a := s.activation(dc2)
			a.Timeout = brief
			_, err := Activate(s.Context(), a)
			late, ok := errors.AsType[*BehindError](err)
			if !ok || len(late.Behind) != 1 || late.Behind[0].Instance != "p1" || late.Behind[0].Datacenter != dc1 {
				s.Fatalf("got %v; want that p1 in dc1 is behind", err)
			}
			s.wantError(err, "term 5")
			s.want("", 5)
			a = s.activation(dc2)
			a.Timeout, a.Force = brief, true
			if out := s.must(a); len(out.Unverified) != 1 || !strings.Contains(out.Unverified[0], "p1, pid 7, in data centre dc1") {
				s.Errorf("got %q; want that what p1 serves is not verified", out.Unverified)
			}
			stop()
			s.want(dc2, 8)
		},
		"a report with a term that nobody gave": func(s *stage) {
			s.must(s.activation(dc1))
			s.report(dc2, "p1", 40)
			s.must(s.activation(dc2)) // the entries were lost: it goes on from there
			s.want(dc2, 43)
			s.report(dc2, "p1", datacenter.MaxTerm)
			_, err := Activate(s.Context(), s.activation(dc1))
			s.wantError(err, "nobody can have reached")
			s.want(dc2, 43)
		},
		"a report with a higher term while it is waited for": func(s *stage) {
			s.must(s.activation(dc1))
			a := s.activation(dc2)
			a.Tell = func(what string) {
				if strings.HasPrefix(what, dc2+": nobody") {
					s.report(dc2, "p1", 9)
				}
			}
			out, err := Activate(s.Context(), a)
			s.wantError(err, "has seen the term 9")
			if !out.Changed || !out.Nobody {
				s.Errorf("got %+v; want it said that nobody is active", out)
			}
			s.want("", 5)
		},
		"reports below two prefixes": func(s *stage) {
			s.must(s.activation(dc1))
			stop := s.keepReporting(dc2, "p1", 3)
			defer stop()
			for _, prefixes := range [][]string{{s.reports, s.reports + "b"}, {s.reports + "a", s.reports}} {
				a := s.activation(dc2)
				a.Timeout, a.Prefixes = brief, prefixes
				if _, err := Activate(s.Context(), a); err == nil {
					s.Errorf("%q: got no error; want p1 behind", prefixes)
				}
				a = s.activation(dc2)
				a.Timeout, a.Prefixes, a.Force = brief, prefixes, true
				s.must(a) // it is not refused: a report is behind
				s.must(s.forcedPast(dc1))
			}
		},
		"force is refused where all is well": func(s *stage) {
			s.must(s.activation(dc1))
			s.report(dc1, "p1", 3)
			a := s.activation(dc2)
			a.Force = true
			_, err := Activate(s.Context(), a)
			if _, ok := errors.AsType[*datacenter.Refused](err); !ok {
				s.Errorf("got %v; want it refused", err)
			}
			s.wantError(err, "not needed")
			s.want(dc1, 3)
		},
		"an entry that is lost, garbled or older": func(s *stage) {
			s.must(s.activation(dc1))
			s.remove(dc2, s.key)
			s.must(s.activation(dc1)) // nobody is cut
			s.want(dc1, 3)
			s.put(dc2, s.key, `{"active":"dc2","term":1}`)
			s.must(s.activation(dc1))
			s.want(dc1, 3)
			s.put(dc1, s.key, "nonsense")
			s.must(s.activation(dc2))
			s.want(dc2, 6)
			s.remove(dc1, s.key)
			s.must(s.activation(dc1))
			s.want(dc1, 9)
			s.put(dc1, s.key, `{"active":"dc2","term":9}`) // two of one term
			s.must(s.activation(dc1))
			s.want(dc1, 12)
		},
		"an entry that somebody changes meanwhile": func(s *stage) {
			s.must(s.activation(dc1))
			for n, text := range []string{dc1 + ": dc1 is active", dc1 + ": nobody", "no instance reports"} {
				a, e := s.activation(dc2), datacenter.Entry{Active: dc1, Term: uint64(100 * (n + 1))}
				a.Tell = func(what string) {
					if strings.HasPrefix(what, text) {
						s.put(dc1, s.key, string(e.Encode()))
					}
				}
				_, err := Activate(s.Context(), a)
				s.wantError(err, "another activation is under way")
				s.wantIn(dc1, dc1, e.Term)
				s.must(s.activation(dc1))
			}
		},
		"another that is under way": func(s *stage) { s.race() },
		"one that ends anywhere":    func(s *stage) { s.interrupt() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(newStage(t, pair))
		})
	}
}

// keepReporting has a report beat that never obeys, as that of a process that has a fault.
func (s *stage) keepReporting(dc, instance string, term uint64) (stop func()) {
	ctx, cancel := context.WithCancel(s.Context())
	var beating sync.WaitGroup
	s.report(dc, instance, term)
	beating.Go(func() {
		for waiting.Sleep(ctx, 100*time.Millisecond) {
			s.report(dc, instance, term)
		}
	})
	return func() {
		cancel()
		beating.Wait()
	}
}

// race has two activations at once, of different data centres, again and again: both
// never succeed, and neither leaves what the next one cannot mend.
func (s *stage) race() {
	for n := range 10 {
		var both sync.WaitGroup
		errs := make([]error, 2)
		for i, dc := range []string{dc1, dc2} {
			both.Go(func() { _, errs[i] = Activate(s.Context(), s.activation(dc)) })
		}
		both.Wait()
		e1, err1 := datacenter.Parse([]byte(s.get(dc1, s.key)))
		e2, err2 := datacenter.Parse([]byte(s.get(dc2, s.key)))
		if err1 != nil || err2 != nil {
			s.Fatalf("round %d: got the entries %v, %v", n, err1, err2)
		}
		if e1.Term == e2.Term && e1.Active != e2.Active {
			s.Fatalf("round %d: got %+v and %+v; want no two of one term", n, e1, e2)
		}
		s.must(s.activation([]string{dc1, dc2}[n%2]))
	}
}

// interrupt ends an activation at each of its steps; the next one succeeds.
func (s *stage) interrupt() {
	s.must(s.activation(dc1))
	for n, ended := 1, true; ended; n++ {
		ctx, cancel := context.WithCancelCause(s.Context())
		a, told := s.activation(dc2), 0
		a.Tell = func(string) {
			if told++; told == n {
				cancel(errors.New("killed"))
			}
		}
		_, err := Activate(ctx, a)
		ended = told >= n
		cancel(nil)
		if ended && err == nil && n < 7 {
			s.Errorf("ended at step %d without an error", n)
		}
		s.must(s.activation([]string{dc1, dc2}[n%2]))
		s.must(s.activation(dc1))
	}
}
