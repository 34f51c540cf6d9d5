package consultest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

func pollWakesOnLock(t *testing.T, c alone) {
	first := c.session(t, &api.SessionEntry{})
	second := c.session(t, &api.SessionEntry{Behavior: api.SessionBehaviorDelete})
	_, index := c.keyNow(t, "pw")
	for _, step := range []struct {
		what   string
		change func() bool
		want   func(k *api.KVPair) bool
	}{
		{"acquired", func() bool { return c.acquire(t, "pw", first, "a") }, func(k *api.KVPair) bool { return k.Session == first && k.LockIndex == 1 }},
		{"acquired again with another value", func() bool { return c.acquire(t, "pw", first, "b") }, func(k *api.KVPair) bool { return k.Session == first && k.LockIndex == 1 && string(k.Value) == "b" }},
		{"released with the same value", func() bool {
			ok, _, err := c.KV().Release(&api.KVPair{Key: "pw", Value: []byte("b"), Session: first}, nil)
			must(t, err)
			return ok
		}, func(k *api.KVPair) bool { return k.Session == "" && k.LockIndex == 1 && string(k.Value) == "b" }},
		{"acquired by another", func() bool { return c.acquire(t, "pw", second, "b") }, func(k *api.KVPair) bool { return k.Session == second && k.LockIndex == 2 }},
		{"written by a third", func() bool { c.put(t, "pw", "c"); return true }, func(k *api.KVPair) bool { return k.Session == second && k.LockIndex == 0 }},
	} {
		got := c.pollKey("pw", index, 10*testTimeout)
		if !step.change() {
			t.Fatalf("%s: got false; want true", step.what)
		}
		k, now := answered(t, got)
		if k == nil || !step.want(k) || now <= index || now != k.ModifyIndex {
			t.Errorf("%s: got %+v, index %d; want the lock so, under its ModifyIndex above %d", step.what, k, now, index)
		}
		index = now
	}
	got := c.pollKey("pw", index, 10*testTimeout)
	_, err := c.Session().Destroy(second, nil)
	must(t, err)
	if k, now := answered(t, got); k != nil || now <= index {
		t.Errorf("after its session: got %+v, index %d; want none, above %d", k, now, index)
	}
}

func reacquire(t *testing.T, c alone) {
	id := c.session(t, &api.SessionEntry{})
	c.acquire(t, "ra", id, "a")
	was := c.key(t, "ra").ModifyIndex
	if !c.acquire(t, "ra", id, "a") {
		t.Error("acquire again: got false; want true")
	}
	if now := c.key(t, "ra").ModifyIndex; now != was {
		t.Errorf("ModifyIndex after the same again: got %d; want %d", now, was)
	}
}

func acquireByAnother(t *testing.T, c alone) {
	first, second := c.session(t, &api.SessionEntry{}), c.session(t, &api.SessionEntry{})
	c.acquire(t, "aa", first, "a")
	was := c.key(t, "aa")
	ok, _, err := c.KV().Release(&api.KVPair{Key: "aa", Value: []byte("a"), Session: first}, nil)
	must(t, err)
	if !ok || !c.acquire(t, "aa", second, "a") {
		t.Fatal("release, then acquire by another: got false; want true")
	}
	if k := c.key(t, "aa"); k.ModifyIndex <= was.ModifyIndex || k.LockIndex != 2 || k.Session != second || k.CreateIndex != was.CreateIndex {
		t.Errorf("key: got %+v; want the second session, LockIndex 2, ModifyIndex above %d", k, was.ModifyIndex)
	}
}

func acquireUnlocked(t *testing.T, c alone) {
	c.put(t, "au", "127.0.0.1:3306")
	id := c.session(t, &api.SessionEntry{})
	if !c.acquire(t, "au", id, "mine") {
		t.Fatal("acquire a key that was written without a session: got false; want true")
	}
	if k := c.key(t, "au"); k.LockIndex != 1 || k.Session != id || string(k.Value) != "mine" {
		t.Errorf("key: got %+v; want the session, LockIndex 1, value mine", k)
	}
}

func deletedKeyIsFree(t *testing.T, c alone) {
	first, second := c.session(t, &api.SessionEntry{LockDelay: time.Minute}), c.session(t, &api.SessionEntry{})
	c.acquire(t, "df", first, "a")
	was := c.key(t, "df").ModifyIndex
	got := c.pollKey("df", was, 10*testTimeout)
	c.drop(t, "df")
	if k, now := answered(t, got); k != nil || now <= was {
		t.Errorf("deleted key: got %+v, index %d; want none, above %d", k, now, was)
	}
	if !c.acquire(t, "df", second, "b") {
		t.Fatal("acquire a key that was deleted under its holder: got false; want true, without a lock delay")
	}
	if k := c.key(t, "df"); k.LockIndex != 1 || k.CreateIndex <= was {
		t.Errorf("key: got %+v; want a new one with LockIndex 1", k)
	}
	if c.acquire(t, "df", first, "a") {
		t.Error("acquire by the first, whose session lives: got true; want false")
	}
}

func expiryDeletes(t *testing.T, c alone) {
	id := c.session(t, &api.SessionEntry{TTL: "1s", Behavior: api.SessionBehaviorDelete})
	c.acquire(t, "ed", id, "a")
	_, index := c.keyNow(t, "ed")
	if k, now := answered(t, c.pollKey("ed", index, 10*testTimeout)); k != nil || now <= index {
		t.Errorf("key after its session's TTL: got %+v, index %d; want none, above %d", k, now, index)
	}
	if ok, _, err := c.KV().Acquire(&api.KVPair{Key: "ed-free", Session: id}, nil); err == nil || ok || !strings.Contains(err.Error(), "invalid session") {
		t.Errorf("acquire with a session that has ended: got %v, %v; want the error invalid session", ok, err)
	}
	if c.acquire(t, "ed", id, "a") {
		t.Error("the same within the lock delay: got true; want false, and no error")
	}
}

func expiryReleases(t *testing.T, c alone) {
	id := c.session(t, &api.SessionEntry{TTL: "1s"})
	c.acquire(t, "er", id, "a")
	_, index := c.keyNow(t, "er")
	if k, now := answered(t, c.pollKey("er", index, 10*testTimeout)); k == nil || k.Session != "" || string(k.Value) != "a" || now <= index {
		t.Errorf("key after its session's TTL: got %+v, index %d; want its value, no session, above %d", k, now, index)
	}
}
