package consultest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

// session makes a session without checks.
func (c consul) session(t *testing.T, e *api.SessionEntry) string {
	t.Helper()
	id, _, err := c.Session().CreateNoChecks(e, nil)
	must(t, err)
	t.Cleanup(func() { c.Session().Destroy(id, nil) }) // some have ended
	return id
}

// acquire tries to take the lock.
func (c consul) acquire(t *testing.T, key, session, value string) bool {
	t.Helper()
	ok, _, err := c.KV().Acquire(&api.KVPair{Key: key, Value: []byte(value), Session: session}, nil)
	must(t, err)
	return ok
}

// key reads a key that must be there.
func (c consul) key(t *testing.T, key string) *api.KVPair {
	t.Helper()
	k, _, err := c.KV().Get(key, nil)
	must(t, err)
	if k == nil {
		t.Fatalf("key %s: got none; want one", key)
	}
	return k
}

// keyAfter waits for a change of the key; nil: it is not there.
func (c consul) keyAfter(t *testing.T, key string, index uint64) *api.KVPair {
	t.Helper()
	k, meta, err := c.KV().Get(key, &api.QueryOptions{WaitIndex: index, WaitTime: testTimeout})
	must(t, err)
	if meta.LastIndex <= index {
		t.Fatalf("index of %s: got %d; want above %d", key, meta.LastIndex, index)
	}
	return k
}

func sessionExpiry(t *testing.T, c consul) {
	const lockDelay = time.Second
	id := c.session(t, &api.SessionEntry{TTL: "2s", LockDelay: lockDelay})
	begun := time.Now()
	if !c.acquire(t, "se", id, "mine") {
		t.Fatal("take a free lock: got false")
	}
	k := c.keyAfter(t, "se", c.key(t, "se").ModifyIndex)
	freed := time.Now()
	if d := freed.Sub(begun); d < 2*time.Second {
		t.Errorf("time to the end of the session: got %v; want at least its TTL of 2s", d)
	}
	if k == nil || k.Session != "" || string(k.Value) != "mine" || k.LockIndex != 1 {
		t.Fatalf("key after the session's end: got %+v; want its value, LockIndex 1 and no session", k)
	}
	next := c.session(t, &api.SessionEntry{})
	if c.acquire(t, "se", next, "") && time.Since(freed) < lockDelay/2 {
		t.Error("take the lock within the lock delay: got true; want false")
	}
	eventually(t, "the lock can be taken after the delay", func() bool { return c.acquire(t, "se", next, "theirs") })
	if k := c.key(t, "se"); k.LockIndex != 2 || k.Session != next {
		t.Errorf("key of the next: got LockIndex %d, session %q; want 2, %q", k.LockIndex, k.Session, next)
	}
}

func sessionRenewal(t *testing.T, c consul) {
	id := c.session(t, &api.SessionEntry{TTL: "2s"})
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) { // the passing of time is what is tested
		if e, _, err := c.Session().Renew(id, nil); err != nil || e == nil {
			t.Fatalf("renew: got %v, %v; want the session", e, err)
		}
	}
	e, _, err := c.Session().Info(id, nil)
	if err != nil || e == nil {
		t.Fatalf("session after 5 s of renewing a TTL of 2 s: got %v, %v; want it alive", e, err)
	}
	eventually(t, "it ends when no longer renewed", func() bool {
		e, _, err := c.Session().Info(id, nil)
		must(t, err)
		return e == nil
	})
	if e, _, err := c.Session().Renew(id, nil); err != nil || e != nil {
		t.Errorf("renew a session that has ended: got %v, %v; want none", e, err)
	}
}

func sessionListing(t *testing.T, c consul) {
	id, _, err := c.Session().Create(&api.SessionEntry{Name: "sl", LockDelay: 5 * time.Second, TTL: "1h"}, nil)
	must(t, err)
	defer c.Session().Destroy(id, nil)
	lists := map[string]func() ([]*api.SessionEntry, *api.QueryMeta, error){
		"list": func() ([]*api.SessionEntry, *api.QueryMeta, error) { return c.Session().List(nil) },
		"node": func() ([]*api.SessionEntry, *api.QueryMeta, error) { return c.Session().Node(c.node, nil) },
		"info": func() ([]*api.SessionEntry, *api.QueryMeta, error) {
			e, m, err := c.Session().Info(id, nil)
			return []*api.SessionEntry{e}, m, err
		},
	}
	for name, list := range lists {
		all, meta, err := list()
		must(t, err)
		var e *api.SessionEntry
		for _, s := range all {
			if s.ID == id {
				e = s
			}
		}
		if e == nil || e.Name != "sl" || e.Node != c.node || e.LockDelay != 5*time.Second || e.TTL != "1h" ||
			e.Behavior != "release" || len(e.NodeChecks) != 1 || e.NodeChecks[0] != "serfHealth" || e.CreateIndex == 0 || meta.LastIndex == 0 {
			t.Errorf("%s: got %+v; want the session as made, bound to serfHealth", name, e)
		}
	}
}

func destroyedSession(t *testing.T, c consul) {
	id := c.session(t, &api.SessionEntry{LockDelay: time.Minute})
	next := c.session(t, &api.SessionEntry{})
	c.acquire(t, "ds", id, "v")
	_, err := c.Session().Destroy(id, nil)
	must(t, err)
	if k := c.key(t, "ds"); k.Session != "" || string(k.Value) != "v" {
		t.Errorf("key: got session %q, value %q; want none, v", k.Session, k.Value)
	}
	if c.acquire(t, "ds", next, "") {
		t.Error("take the lock within the lock delay: got true; want false")
	}
}

func cleanRelease(t *testing.T, c consul) {
	id := c.session(t, &api.SessionEntry{LockDelay: time.Minute})
	next := c.session(t, &api.SessionEntry{})
	c.acquire(t, "cr", id, "v")
	for _, want := range []bool{true, false} { // the second time it is not held
		ok, _, err := c.KV().Release(&api.KVPair{Key: "cr", Value: []byte("bye"), Session: id}, nil)
		must(t, err)
		if ok != want {
			t.Errorf("release: got %v; want %v", ok, want)
		}
	}
	if k := c.key(t, "cr"); k.Session != "" || string(k.Value) != "bye" {
		t.Errorf("key: got session %q, value %q; want none, bye", k.Session, k.Value)
	}
	if !c.acquire(t, "cr", next, "") {
		t.Error("take the lock after a clean release: got false; want true")
	}
}

func deleteBehaviour(t *testing.T, c consul) {
	id := c.session(t, &api.SessionEntry{Behavior: api.SessionBehaviorDelete, LockDelay: time.Minute})
	next := c.session(t, &api.SessionEntry{})
	c.acquire(t, "db", id, "v")
	was := c.key(t, "db").ModifyIndex
	_, err := c.Session().Destroy(id, nil)
	must(t, err)
	if k := c.keyAfter(t, "db", was); k != nil {
		t.Errorf("key after its session: got %+v; want none", k)
	}
	if c.acquire(t, "db", next, "") {
		t.Error("take the lock within the lock delay: got true; want false")
	}
}

// boundSession makes a session that hangs on the check of a service, holding the key.
func (c consul) boundSession(t *testing.T, name string) string {
	t.Helper()
	c.register(t, &api.AgentServiceRegistration{ID: name + "-1", Name: name, Port: 1, Check: &api.AgentServiceCheck{TTL: "1m"}})
	entry := &api.SessionEntry{ServiceChecks: []api.ServiceCheck{{ID: "service:" + name + "-1"}}}
	if _, _, err := c.Session().Create(entry, nil); err == nil || !strings.Contains(err.Error(), "Check 'service:"+name+"-1' is in critical state") {
		t.Errorf("session on a critical check: got error %v; want that the check is critical", err)
	}
	c.woken(t, name, func() { must(t, c.Agent().UpdateTTL("service:"+name+"-1", "", "passing")) })
	id, _, err := c.Session().Create(entry, nil)
	must(t, err)
	if !c.acquire(t, name, id, "v") {
		t.Fatal("take a free lock: got false")
	}
	return id
}

func criticalEndsSession(t *testing.T, c consul) {
	c.boundSession(t, "cs")
	was := c.key(t, "cs").ModifyIndex
	must(t, c.Agent().UpdateTTL("service:cs-1", "", "critical"))
	if k := c.keyAfter(t, "cs", was); k == nil || k.Session != "" {
		t.Errorf("key after its holder's check failed: got %+v; want it free", k)
	}
}

func deregistrationEndsSession(t *testing.T, c consul) {
	id := c.boundSession(t, "de")
	was := c.key(t, "de").ModifyIndex
	must(t, c.Agent().ServiceDeregister("de-1"))
	if k := c.keyAfter(t, "de", was); k == nil || k.Session != "" {
		t.Errorf("key after its holder was deregistered: got %+v; want it free", k)
	}
	if e, _, err := c.Session().Info(id, nil); err != nil || e != nil {
		t.Errorf("session: got %v, %v; want none", e, err)
	}
}

func lockExclusive(t *testing.T, c consul) {
	a, b := c.session(t, &api.SessionEntry{}), c.session(t, &api.SessionEntry{})
	for _, step := range []struct {
		session, value string
		want           bool
	}{{a, "1", true}, {a, "2", true}, {b, "3", false}} {
		if got := c.acquire(t, "le", step.session, step.value); got != step.want {
			t.Errorf("acquire with value %s: got %v; want %v", step.value, got, step.want)
		}
	}
	if k := c.key(t, "le"); string(k.Value) != "2" || k.LockIndex != 1 || k.Session != a {
		t.Errorf("key: got %+v; want value 2, LockIndex 1, the first session", k)
	}
	if ok, _, _ := c.KV().Release(&api.KVPair{Key: "le", Session: b}, nil); ok {
		t.Error("release by who does not hold it: got true; want false")
	}
}

func plainPut(t *testing.T, c consul) {
	id := c.session(t, &api.SessionEntry{})
	c.acquire(t, "pp", id, "v")
	was := c.key(t, "pp")
	_, err := c.KV().Put(&api.KVPair{Key: "pp", Value: []byte("over")}, nil)
	must(t, err)
	k := c.key(t, "pp")
	if k.LockIndex != 0 || k.Session != id || k.ModifyIndex <= was.ModifyIndex || k.CreateIndex != was.CreateIndex {
		t.Errorf("key: got LockIndex %d, session %q, indexes %d, %d; want 0, the holder's, %d, above %d",
			k.LockIndex, k.Session, k.CreateIndex, k.ModifyIndex, was.CreateIndex, was.ModifyIndex)
	}
}

func compareAndSet(t *testing.T, c consul) {
	put := func(value string, index uint64) bool {
		ok, _, err := c.KV().CAS(&api.KVPair{Key: "ca", Value: []byte(value), ModifyIndex: index, Flags: 7}, nil)
		must(t, err)
		return ok
	}
	del := func(index uint64) bool {
		ok, _, err := c.KV().DeleteCAS(&api.KVPair{Key: "ca", ModifyIndex: index}, nil)
		must(t, err)
		return ok
	}
	if put("v", 5) {
		t.Error("change a key that is not there: got true; want false")
	}
	if !put("v", 0) || put("w", 0) {
		t.Error("create: want true, and false when it is there")
	}
	k := c.key(t, "ca")
	if k.Flags != 7 {
		t.Errorf("flags: got %d; want 7", k.Flags)
	}
	if !put("w", k.ModifyIndex) || put("x", k.ModifyIndex) || del(k.ModifyIndex) || del(0) {
		t.Error("change at an index: want true once; and no deletion at an old one")
	}
	if !del(c.key(t, "ca").ModifyIndex) || !del(1) {
		t.Error("delete at its index, and delete what is gone: want true")
	}
}

func missingKey(t *testing.T, c consul) {
	k, meta, err := c.KV().Get("mk", nil)
	must(t, err)
	if k != nil || meta.LastIndex == 0 {
		t.Fatalf("missing key: got %+v, index %d; want none, above 0", k, meta.LastIndex)
	}
	got := make(chan *api.KVPair, 1)
	go func() {
		defer close(got)
		for index := meta.LastIndex; ; {
			k, m, err := c.KV().Get("mk", &api.QueryOptions{WaitIndex: index, WaitTime: testTimeout})
			if err != nil || k != nil {
				got <- k
				return
			}
			index = m.LastIndex
		}
	}()
	_, err = c.KV().Put(&api.KVPair{Key: "mk-other"}, nil)
	must(t, err)
	_, err = c.KV().Put(&api.KVPair{Key: "mk", Value: []byte("v")}, nil)
	must(t, err)
	if k := <-got; k == nil || string(k.Value) != "v" {
		t.Errorf("key: got %+v; want value v", k)
	}
}

func prefixQueries(t *testing.T, c consul) {
	for _, key := range []string{"pq/b/2", "pq/a", "pq/b/1"} {
		_, err := c.KV().Put(&api.KVPair{Key: key}, nil)
		must(t, err)
	}
	list := func(q *api.QueryOptions) (string, uint64) {
		pairs, meta, err := c.KV().List("pq/", q)
		must(t, err)
		var names []string
		for _, p := range pairs {
			names = append(names, p.Key)
		}
		return strings.Join(names, " "), meta.LastIndex
	}
	got, index := list(nil)
	if got != "pq/a pq/b/1 pq/b/2" {
		t.Errorf("list: got %q; want all three in order", got)
	}
	keys, _, err := c.KV().Keys("pq/", "/", nil)
	must(t, err)
	if got := strings.Join(keys, " "); got != "pq/a pq/b/" {
		t.Errorf("keys up to a separator: got %q; want \"pq/a pq/b/\"", got)
	}
	_, err = c.KV().Put(&api.KVPair{Key: "other"}, nil)
	must(t, err)
	if _, after := list(&api.QueryOptions{WaitIndex: index, WaitTime: quiet}); after != index {
		t.Errorf("index after a change elsewhere: got %d; want %d", after, index)
	}
	_, err = c.KV().DeleteTree("pq/b/", nil)
	must(t, err)
	if got, after := list(&api.QueryOptions{WaitIndex: index, WaitTime: testTimeout}); got != "pq/a" || after <= index {
		t.Errorf("list after a deletion: got %q, index %d; want pq/a, above %d", got, after, index)
	}
}

func officialLock(t *testing.T, c consul) {
	lock := func() *api.Lock {
		l, err := c.LockOpts(&api.LockOptions{Key: "ol", SessionTTL: "10s"})
		must(t, err)
		return l
	}
	first, second := lock(), lock()
	lost, err := first.Lock(nil)
	must(t, err)
	held := make(chan error, 1)
	go func() {
		_, err := second.Lock(nil)
		held <- err
	}()
	must(t, first.Unlock())
	select {
	case <-lost:
	case <-time.After(testTimeout):
		t.Fatal("the first was not told that it holds the lock no more")
	}
	select {
	case err := <-held:
		must(t, err)
	case <-time.After(testTimeout):
		t.Fatal("the second did not get the lock")
	}
	holder := c.key(t, "ol").Session
	_, err = c.Session().Destroy(holder, nil)
	must(t, err)
	if err := second.Unlock(); err != nil {
		t.Errorf("unlock a lock that was lost: %v", err)
	}
}
