package discovery

import (
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rosproxy/rosproxy/discovery/consultest"
)

func port(address string) string {
	_, p, _ := net.SplitHostPort(address)
	return p
}

func TestFailoverInEitherOrderEndsRight(t *testing.T) {
	t.Parallel()
	s := double(t)
	r := start(t, quick(s.Addr))
	r.calls(set1)
	s.SetTags("sync-2", "role=master")
	s.SetTags("sync-1", "role=slave")
	r.calls(set1, set2)
	r.state(Found, 1)

	s.SetTags("sync-2", "role=slave")
	s.SetTags("sync-1", "role=master")
	await(t, "sync-1 as master", func() bool { return r.lastMaster().ServiceID == "sync-1" })
	r.state(Found, 1)
	for _, c := range r.list()[2:] {
		if c != "default clear" && c != set1 {
			t.Errorf("got calls %q; want at most a clear before sync-1", r.list())
		}
	}
	m := r.lastMaster()
	if m.Node != "consultest" || m.Seen.IsZero() {
		t.Errorf("got master %+v; want its node and when it was seen", m)
	}
}

func TestMasterThatGoesHoldsAndComesBackUncounted(t *testing.T) {
	for _, tc := range []struct {
		name     string
		go1, be1 func(*consultest.Server)
	}{
		{"check critical, then passing", func(s *consultest.Server) { s.SetCheck("sync-1", consultest.Critical, "down") },
			func(s *consultest.Server) { s.SetCheck("sync-1", consultest.Passing, "up") }},
		{"check warning, then passing", func(s *consultest.Server) { s.SetCheck("sync-1", consultest.Warning, "slow") },
			func(s *consultest.Server) { s.SetCheck("sync-1", consultest.Passing, "up") }},
		{"tag removed, then back", func(s *consultest.Server) { s.SetTags("sync-1") },
			func(s *consultest.Server) { s.SetTags("sync-1", "role=master") }},
		{"deregistered, then registered", func(s *consultest.Server) { s.Deregister("sync-1") }, workers},
		{"maintenance of its node", func(s *consultest.Server) {
			s.Txn(func(t *consultest.Tx) { t.SetNodeCheck("", "_node_maintenance", consultest.Critical) })
		}, func(s *consultest.Server) {
			s.Txn(func(t *consultest.Tx) { t.SetNodeCheck("", "_node_maintenance", consultest.Passing) })
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := double(t)
			r := start(t, quick(s.Addr))
			r.calls(set1)
			tc.go1(s)
			r.calls(set1, "default clear")
			r.state(None, 0)
			tc.be1(s)
			r.calls(set1, "default clear", set1)
			r.state(Found, 1)
		})
	}
}

func TestChurnIsNothing(t *testing.T) {
	t.Parallel()
	s := double(t)
	r := start(t, quick(s.Addr))
	r.calls(set1)
	s.SetCheck("sync-1", consultest.Passing, "other output")
	s.SetCheck("sync-2", consultest.Critical, "down")
	s.SetTags("sync-1", "role=master", "colour=blue")
	s.Txn(func(t *consultest.Tx) { t.SetMeta("sync-1", map[string]string{"version": "2"}) })
	s.Register(consultest.Service{ID: "sync-3", Name: "sync", Port: 7803})
	s.Txn(func(t *consultest.Tx) { t.SetNodeCheck("", "disk", consultest.Passing) })
	at := s.Index()
	await(t, "the last index", func() bool { return r.agent(0).Index >= at })
	r.heard(0)
	r.calls(set1)
}

func TestNewAddressOfTheMasterIsAFailover(t *testing.T) {
	t.Parallel()
	s := double(t)
	r := start(t, quick(s.Addr))
	r.calls(set1)
	s.Txn(func(t *consultest.Tx) { t.SetAddress("sync-1", "127.0.0.9", 7801) })
	r.calls(set1, "default set 127.0.0.9:7801")
	s.Txn(func(t *consultest.Tx) { t.SetAddress("sync-1", "::1", 7809) })
	r.calls(set1, "default set 127.0.0.9:7801", "default set [::1]:7809")
}

func TestInvalidMasterIsWarnedOfOnceAndChangesNothing(t *testing.T) {
	t.Parallel()
	s := double(t)
	r := start(t, quick(s.Addr))
	r.calls(set1)
	s.Txn(func(t *consultest.Tx) {
		t.SetAddress("sync-1", "127.0.0.1", 0)
		for _, id := range []string{"a", "b", "c"} { // listed in another order each time
			t.Register(consultest.Service{ID: id, Name: "sync", Address: "0.0.0.0", Port: 1, Tags: []string{"role=master"}})
		}
	})
	await(t, "a warning", func() bool { return r.log.count("warn", "invalid master") > 0 })
	r.heard(0)
	r.calls(set1)
	r.state(Found, 1)
	r.heard(0)
	r.heard(0)
	r.logged(1, "warn", "invalid master")
	if a := r.agent(0); !a.OK {
		t.Errorf("got agent %+v; want it OK: the answer is understood", a)
	}
	failover(s)
	r.calls(set1, set2)
}

func TestTwoMasters(t *testing.T) {
	t.Parallel()
	for _, policy := range []ConflictPolicy{Newest, Refuse} {
		s := double(t)
		c := quick(s.Addr)
		c.OnConflict = policy
		r := start(t, c)
		r.calls(set1)
		s.SetTags("sync-2", "role=master")
		if policy == Newest {
			r.calls(set1, set2)
			r.state(Found, 2)
			s.SetTags("sync-1", "role=slave")
			r.state(Found, 1)
			r.calls(set1, set2)
		} else {
			r.calls(set1, "default cut")
			r.state(Conflict, 2)
			s.SetTags("sync-1", "role=slave")
			r.calls(set1, "default cut", set2)
			r.state(Found, 1)
		}
		r.logged(1, "warn", "several instances claim")
	}
}

func TestEveryInstanceOfATierPicksTheSameMaster(t *testing.T) {
	t.Parallel()
	s := double(t)
	s.Txn(func(t *consultest.Tx) { // one index for all of them
		for i, id := range []string{"a", "c", "b"} {
			t.Register(consultest.Service{ID: id, Name: "sync", Port: 7810 + i, Tags: []string{"role=master"}})
		}
	})
	for range 8 {
		start(t, quick(s.Addr)).calls("default set 127.0.0.1:7811")
	}
}

func TestLabelsAreWatchedApart(t *testing.T) {
	t.Parallel()
	s := double(t)
	s.Register(consultest.Service{ID: "b-1", Name: "sync", Port: 7811, Tags: []string{"role=master", "LABEL=B"}})
	s.SetTags("sync-1", "role=master", "label=a")
	c := quick(s.Addr)
	c.Labels = []Label{{Name: "a", Tagged: true}, {Name: "b", Tagged: true}, {Name: "c", Tagged: true}}
	r := start(t, c)
	want := []string{"a set 127.0.0.1:7801", "b set 127.0.0.1:7811", "c clear"}
	await(t, "all labels", func() bool { return len(r.list()) == 3 })
	got := r.list()
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Fatalf("got calls %q; want %q in any order", got, want)
	}
	l := r.Labels()
	if len(l) != 3 || l[0].Label != "a" || l[1].Label != "b" || l[2].Label != "c" {
		t.Errorf("got labels %v; want a, b, c", l)
	}
}

func TestBusySinkOfOneLabelDoesNotHoldUpAnother(t *testing.T) {
	t.Parallel()
	s := double(t)
	s.Register(consultest.Service{ID: "b-1", Name: "sync", Port: 7811, Tags: []string{"role=master", "label=b"}})
	s.SetTags("sync-1", "role=master", "label=a")
	c := quick(s.Addr)
	c.Labels = []Label{{Name: "a", Tagged: true}, {Name: "b", Tagged: true}}
	release := make(chan struct{})
	defer sync.OnceFunc(func() { close(release) })()
	r := start(t, c, func(_ *Consul, r *recorder) {
		r.hold = func(label string) {
			if label == "a" {
				<-release
			}
		}
	})
	await(t, "both labels", func() bool { return len(r.list()) == 2 })
	s.Txn(func(t *consultest.Tx) { t.SetAddress("b-1", "127.0.0.2", 7811) })
	await(t, "b's failover", func() bool { return slices.Contains(r.list(), "b set 127.0.0.2:7811") })
}

// TestCandidatesWithFailingChecksSayWhyThereIsNoMaster: in the status and in
// one line of the log, at the start too.
func TestCandidatesWithFailingChecksSayWhyThereIsNoMaster(t *testing.T) {
	for _, status := range []string{consultest.Warning, consultest.Critical} {
		t.Run(status, func(t *testing.T) {
			t.Parallel()
			s := double(t)
			s.SetCheck("sync-2", consultest.Critical, "a slave's is nobody's business")
			s.SetCheck("sync-1", status, "slow")
			r := start(t, quick(s.Addr))
			want := Failing{ServiceID: "sync-1", Node: "consultest", Check: "Service check", Status: status}
			why := func() {
				t.Helper()
				await(t, "the reason in the status", func() bool {
					l := r.Labels()[0]
					return l.State == None && slices.Equal(l.Failing, []Failing{want})
				})
			}
			why()
			r.heard(0)
			line := "no master, since the checks"
			r.logged(1, "warn", line)
			if log := r.log.String(); !strings.Contains(log, "Service check") || !strings.Contains(log, "is "+status) {
				t.Errorf("got log %s; want the check named, and that it is %s", log, status)
			}
			s.SetCheck("sync-1", consultest.Passing, "")
			r.calls("default clear", set1)
			if l := r.Labels()[0]; l.State != Found || l.Failing != nil {
				t.Errorf("got %+v; want a master and no reason why there is none", l)
			}
			s.SetCheck("sync-1", status, "slow")
			r.calls("default clear", set1, "default clear")
			why()
			r.logged(2, "warn", line)
			s.SetTags("sync-1", "role=slave") // now there is no candidate
			await(t, "no reason", func() bool { return r.Labels()[0].Failing == nil })
		})
	}
}

// TestNamesAreCutWhereTheyAreHandedOut, so that a registration floods nobody.
func TestNamesAreCutWhereTheyAreHandedOut(t *testing.T) {
	t.Parallel()
	s := double(t)
	long := strings.Repeat("x", 255) + strings.Repeat("é", 1000) // the 256th byte is the first half of a letter
	register := func(status string) {
		s.Register(consultest.Service{ID: long, Name: "sync", Node: long, Port: 7805, Tags: []string{"role=master"}, Status: status})
	}
	register(consultest.Passing)
	s.SetTags("sync-1")
	r := start(t, quick(s.Addr))
	r.calls("default set 127.0.0.1:7805")
	if m := r.lastMaster(); m.ServiceID != long[:255] || m.Node != long[:255] {
		t.Errorf("got a service id of %d bytes and a node of %d; want 255 of each", len(m.ServiceID), len(m.Node))
	}
	register(consultest.Critical)
	await(t, "the reason", func() bool { return len(r.Labels()[0].Failing) == 1 })
	if f := r.Labels()[0].Failing[0]; f.ServiceID != long[:255] || f.Node != long[:255] {
		t.Errorf("got a service id of %d bytes and a node of %d; want 255 of each", len(f.ServiceID), len(f.Node))
	}
}

// TestStatusNeverNamesAMasterThatTheSinkDoesNotHave: none before the sink has
// taken it, and none any more when the sink learns that it is gone.
func TestStatusNeverNamesAMasterThatTheSinkDoesNotHave(t *testing.T) {
	t.Parallel()
	s := double(t)
	entered, release := make(chan struct{}), make(chan struct{})
	r := start(t, quick(s.Addr), func(_ *Consul, r *recorder) {
		r.hold = func(string) { entered <- struct{}{}; <-release }
	})
	within := func(want State, call func()) {
		t.Helper()
		call()
		<-entered
		if got := r.Labels()[0].State; got != want {
			t.Errorf("while the sink is told: got state %q; want %q", got, want)
		}
		release <- struct{}{}
	}
	within(Starting, func() {})
	r.state(Found, 1)
	within(None, func() { s.SetTags("sync-1") })
	within(None, func() { s.SetTags("sync-1", "role=master") })
	r.state(Found, 1)
}
