package consultest_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/consultest"
)

// pollOn is the path of a blocking query on a key that waits for the next change.
func pollOn(s *consultest.Server, key string) string {
	return "/v1/kv/" + key + "?wait=10m&index=" + strconv.FormatUint(s.Index(), 10)
}

func TestLocksAreWhatATestSays(t *testing.T) {
	s := consultest.NewServer()
	defer s.Close()
	c := consul{s.Client(), s.URL, "consultest"}
	releasing, deleting := s.NewSession(consultest.ReleaseKeys), s.NewSession(consultest.DeleteKeys)
	for _, step := range []struct {
		what   string
		change func() uint64
		holder string
		value  string // "-": the key is absent
		locks  uint64
	}{
		{"written", func() uint64 { return s.SetKey("k", "free") }, "", "free", 0},
		{"locked", func() uint64 { return s.Lock("k", "pg1", releasing) }, releasing, "pg1", 1},
		{"written by another", func() uint64 { return s.SetKey("k", "over") }, releasing, "over", 0},
		{"unlocked", func() uint64 { return s.Unlock("k") }, "", "over", 0},
		{"locked again", func() uint64 { return s.Lock("k", "pg1", releasing) }, releasing, "pg1", 1},
		{"expired with release", func() uint64 { return s.ExpireSession(releasing) }, "", "pg1", 1},
		{"locked by the other", func() uint64 { return s.Lock("k", "pg2", deleting) }, deleting, "pg2", 2},
		{"expired with delete", func() uint64 { return s.ExpireSession(deleting) }, "", "-", 0},
		{"written anew", func() uint64 { return s.SetKey("k", "v") }, "", "v", 0},
		{"dropped", func() uint64 { return s.DropKey("k") }, "", "-", 0},
	} {
		got := later(t, s, pollOn(s, "k"))
		awaitPoll(t, s)
		at := step.change()
		if a := <-got; a.index() != at {
			t.Errorf("%s: the poll got index %d; want %d", step.what, a.index(), at)
		}
		k, index := c.keyNow(t, "k")
		switch {
		case index != at || s.Holder("k") != step.holder:
			t.Errorf("%s: got index %d, holder %q; want %d, %q", step.what, index, s.Holder("k"), at, step.holder)
		case (k == nil) != (step.value == "-"):
			t.Errorf("%s: got key %+v; want value %q", step.what, k, step.value)
		case k != nil && (string(k.Value) != step.value || k.Session != step.holder || k.LockIndex != step.locks):
			t.Errorf("%s: got key %+v; want value %q, session %q, LockIndex %d", step.what, k, step.value, step.holder, step.locks)
		}
	}
}

func TestLockMovesInOneStep(t *testing.T) {
	s := consultest.NewServer()
	defer s.Close()
	first, second := s.NewSession(consultest.DeleteKeys), s.NewSession(consultest.DeleteKeys)
	s.Lock("k", "pg1", first)
	got := later(t, s, pollOn(s, "k"))
	awaitPoll(t, s)
	at := s.Txn(func(tx *consultest.Tx) {
		tx.ExpireSession(first)
		tx.Lock("k", "pg2", second)
	})
	if a := <-got; a.status != 200 || a.index() != at || s.Holder("k") != second {
		t.Errorf("answer: got %d, index %d; want 200 and %d: no moment without a holder", a.status, a.index(), at)
	}
}

func TestLockOfATestCannotBeStolen(t *testing.T) {
	s := consultest.NewServer()
	defer s.Close()
	s.Lock("k", "pg1", s.NewSession(consultest.ReleaseKeys))
	for what, mistake := range map[string]func(){
		"lock what another holds": func() { s.Lock("k", "pg2", s.NewSession(consultest.ReleaseKeys)) },
		"lock without a session":  func() { s.Lock("k2", "pg2", "nobody") },
		"unlock what is free":     func() { s.Unlock("k2") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: got no panic; want one", what)
				}
			}()
			mistake()
		}()
	}
	s.SetKey("k2", "v") // the double still works
}

func TestRestoredSessionHasItsWholeTTLAgain(t *testing.T) {
	s, err := consultest.Listen(consultest.Config{SessionTTLMin: time.Millisecond})
	must(t, err)
	defer s.Close()
	c := consul{s.Client(), s.URL, "consultest"}
	id := c.session(t, &api.SessionEntry{TTL: "500ms", Behavior: api.SessionBehaviorDelete})
	s.Lock("k", "pg1", id)
	snap := s.Snapshot()
	s.ExpireSession(id)
	if k, _ := c.keyNow(t, "k"); k != nil {
		t.Fatalf("key after its session: got %+v; want none", k)
	}
	at := s.Index()
	s.RestoreSnapshot(snap)
	if s.Holder("k") != id || s.Index() <= at {
		t.Errorf("restored: got holder %q, index %d; want %q, above %d", s.Holder("k"), s.Index(), id, at)
	}
	eventually(t, "the restored session ends, since nobody renews it", func() bool { return s.Holder("k") == "" })
	s.RestoreSnapshot(snap) // serves more than once
	if s.Holder("k") != id {
		t.Errorf("restored again: got holder %q; want %q", s.Holder("k"), id)
	}
}

func TestDenialOfEverybodyEndsWithUndo(t *testing.T) {
	s := consultest.NewServer()
	defer s.Close()
	s.SetKey("a/b", "1")
	undo := s.DenyKeys("a/")
	other := s.DenyKeys("a/", "somebody")
	defer other()
	c := s.Client()
	if _, _, err := c.KV().Get("a/b", nil); err == nil {
		t.Error("read: got no error; want 403")
	}
	if _, err := c.KV().DeleteTree("a", nil); err == nil {
		t.Error("delete the tree: got no error; want 403")
	}
	undo()
	undo() // is harmless
	if k, _, err := c.KV().Get("a/b", nil); err != nil || k == nil {
		t.Errorf("after undo: got %v, %v; want the key", k, err)
	}
}
