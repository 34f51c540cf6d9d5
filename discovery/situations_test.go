package discovery

import (
	"net"
	"slices"
	"sync"
	"testing"
	"time"

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
	if n := r.log.count("warn", ""); n != 1 {
		t.Errorf("got %d warnings; want one", n)
	}
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
		if n := r.log.count("warn", "several instances claim"); n != 1 {
			t.Errorf("policy %v: got %d warnings; want one", policy, n)
		}
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

func TestFenceCutsAfterAnOutage(t *testing.T) {
	t.Parallel()
	s := double(t)
	c := quick(s.Addr)
	c.OnOutage, c.FenceAfter = Fence, 3*time.Second
	r := start(t, c)
	r.calls(set1)
	r.heard(0)
	r.calls(set1)
	s.Stop()
	r.calls(set1, "default cut")
	r.state(Unreachable, 1)
	s.Start()
	r.calls(set1, "default cut", set1)
	r.state(Found, 1)
}
