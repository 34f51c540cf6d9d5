package consultest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/consultest"
)

const leaderPath = "/v1/kv/service/pg/leader"

// newLeader has a leader's key, held by the session that is returned, under index 12.
func newLeader(t *testing.T) (*consultest.Server, string) {
	t.Helper()
	s := consultest.NewServer()
	t.Cleanup(s.Close)
	id := s.NewSession(consultest.DeleteKeys)
	s.Lock("service/pg/leader", "pg1", id)
	return s, id
}

// whole reports whether the answer is that of a leader's key that pg1 holds.
func whole(a answer) bool {
	return a.err == nil && a.status == 200 && strings.Contains(a.body, `"Value":"cGcx"`) && strings.Contains(a.body, `"Session":"`) && a.index() == 12
}

// TestFaultsReachKeys: what goes wrong with health queries goes wrong with
// keys: with one that comes, and with a long poll that waits already.
func TestFaultsReachKeys(t *testing.T) {
	for name, tc := range map[string]struct {
		fault func(*consultest.Server) consultest.Fault
		want  func(answer) bool
	}{
		"500":              {just(consultest.Status(500, "No cluster leader")), func(a answer) bool { return a.status == 500 && a.body == "No cluster leader" }},
		"403":              {just(consultest.Status(403, "Permission denied")), func(a answer) bool { return a.status == 403 && a.index() == 0 }},
		"garbage":          {just(consultest.Body("<html>")), func(a answer) bool { return a.status == 200 && a.body == "<html>" && a.index() == 12 }},
		"null":             {just(consultest.Body("null")), func(a answer) bool { return a.body == "null" }},
		"absent":           {just(consultest.Absent()), func(a answer) bool { return a.err == nil && a.status == 404 && a.body == "" && a.index() == 12 }},
		"index 0":          {just(consultest.Index("0")), func(a answer) bool { return a.header.Get("X-Consul-Index") == "0" }},
		"index missing":    {just(consultest.Index("")), func(a answer) bool { return a.status == 200 && len(a.header["X-Consul-Index"]) == 0 }},
		"index backwards":  {just(consultest.IndexBack(5)), func(a answer) bool { return a.index() == 7 && strings.Contains(a.body, "cGcx") }},
		"no leader":        {just(consultest.NoLeader(time.Second)), func(a answer) bool { return a.header.Get("X-Consul-KnownLeader") == "false" }},
		"truncated":        {just(consultest.Truncated()), func(a answer) bool { return a.status == 200 && errors.Is(a.err, io.ErrUnexpectedEOF) }},
		"reset":            {just(consultest.Reset()), func(a answer) bool { return errors.Is(a.err, syscall.ECONNRESET) }},
		"drip":             {just(consultest.Drip(100, time.Millisecond)), whole},
		"slow":             {just(consultest.Slow(time.Millisecond)), whole},
		"junk":             {just(consultest.Junk(1 << 30)), func(a answer) bool { return len(a.body) == 1<<20 && a.body[0] == '[' }},
		"the same index":   {func(s *consultest.Server) consultest.Fault { return s.SameIndex() }, whole},
		"of another path":  {just(consultest.Status(500, "").On("/v1/health/")), nil},
		"of another key":   {just(consultest.Status(500, "").On("/v1/kv/service/pg/members/")), nil},
		"of writes only":   {just(consultest.Status(500, "").When(func(r *http.Request) bool { return r.Method != "GET" })), nil},
		"of consistent":    {just(consultest.Status(500, "").When(func(r *http.Request) bool { return r.URL.Query().Has("consistent") })), nil},
		"of another token": {just(consultest.Status(500, "").When(func(r *http.Request) bool { return r.Header.Get("X-Consul-Token") == "other" })), nil},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newLeader(t)
			got := later(t, s, pollOn(s, "service/pg/leader"))
			awaitPoll(t, s)
			fault := tc.fault(s)
			if fault.Path == "" {
				fault = fault.On("/v1/kv/service/pg/leader")
			}
			undo := s.Inject(fault)
			spared := tc.want == nil
			if spared {
				tc.want = whole
				pending(t, got)
			} else if a := <-got; !tc.want(a) {
				t.Errorf("the poll that waited: got %d %.80q, index %d, %v", a.status, a.body, a.index(), a.err)
			}
			if a := ask(t, s, leaderPath); !tc.want(a) {
				t.Errorf("a read: got %d %.80q, index %d, %v", a.status, a.body, a.index(), a.err)
			}
			undo()
			if a := ask(t, s, leaderPath); !whole(a) {
				t.Errorf("after undo: got %+v; want the key", a)
			}
			if spared {
				s.DropKey("service/pg/leader")
				if a := <-got; a.status != 404 {
					t.Errorf("the poll that was spared: got %+v; want 404 after the key's end", a)
				}
			}
		})
	}
}

func TestHungPollOnAKeySeesTheLockLostAfterUndo(t *testing.T) {
	for name, fault := range map[string]consultest.Fault{"hang": consultest.Hang(), "hang mid-answer": consultest.HangMidAnswer()} {
		t.Run(name, func(t *testing.T) {
			s, id := newLeader(t)
			got := later(t, s, pollOn(s, "service/pg/leader"))
			awaitPoll(t, s)
			undo := s.Inject(fault.On("/v1/kv/"))
			pending(t, got)
			s.ExpireSession(id)
			pending(t, got)
			undo()
			a := <-got
			if name == "hang" && a.status != 404 {
				t.Errorf("answer: got %+v; want 404", a)
			}
			if name != "hang" && !whole(a) { // its header had left with the fault
				t.Errorf("answer: got %+v; want the key of before", a)
			}
		})
	}
}

func TestLaggingAgentServesTheOldLockUnderItsOldIndex(t *testing.T) {
	s, id := newLeader(t)
	undo := s.Lag()
	s.ExpireSession(id)
	for _, query := range []string{"", "?consistent"} {
		if a := ask(t, s, leaderPath+query); !whole(a) {
			t.Errorf("answer with %q: got %+v; want the key of before", query, a)
		}
	}
	got := later(t, s, leaderPath+"?wait=10m&index=12")
	pending(t, got)
	undo()
	if a := <-got; a.status != 404 || a.index() != s.Index() {
		t.Errorf("the poll after undo: got %+v; want 404 under index %d", a, s.Index())
	}
}

func TestSameIndexHidesALostLock(t *testing.T) {
	s, id := newLeader(t)
	defer s.Inject(s.SameIndex())()
	got := later(t, s, pollOn(s, "service/pg/leader"))
	awaitPoll(t, s)
	s.ExpireSession(id)
	if a := <-got; a.status != 404 || a.index() != 12 {
		t.Errorf("answer: got %d under %d; want 404 under 12, as if nothing had changed", a.status, a.index())
	}
}

func TestFaultsOfKeysSpareSessions(t *testing.T) {
	s, id := newLeader(t)
	defer s.Inject(consultest.Status(403, "Permission denied").On("/v1/kv/"))()
	if e, _, err := s.Client().Session().Info(id, nil); err != nil || e == nil || e.Behavior != api.SessionBehaviorDelete {
		t.Errorf("session: got %+v, %v; want it, with behavior delete", e, err)
	}
}

func TestFrozenAgentLeavesTheLockToTheOthers(t *testing.T) {
	s, id := newLeader(t)
	other, err := s.AddAgent("other")
	must(t, err)
	defer other.Close()
	defer s.Inject(consultest.Hang())()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	hung := make(chan answer, 1)
	go func() { hung <- get(ctx, s, leaderPath, 1<<20) }()
	if a := ask(t, other, leaderPath); !whole(a) {
		t.Errorf("through the other: got %+v; want the key", a)
	}
	other.ExpireSession(id)
	if a := ask(t, other, leaderPath); a.status != 404 {
		t.Errorf("through the other, after the lock is lost: got %+v; want 404", a)
	}
	pending(t, hung)
	cancel()
	<-hung
}
