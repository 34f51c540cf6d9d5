package consultest_test

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

// snapshot saves the cluster and returns what restores it.
func (c consul) snapshot(t *testing.T) (restore func()) {
	t.Helper()
	r, _, err := c.Snapshot().Save(nil)
	must(t, err)
	defer r.Close()
	saved, err := io.ReadAll(r)
	must(t, err)
	return func() {
		t.Helper()
		must(t, c.Snapshot().Restore(nil, bytes.NewReader(saved)))
	}
}

func restoreLowers(t *testing.T, c alone) {
	id := c.session(t, &api.SessionEntry{Behavior: api.SessionBehaviorDelete})
	c.acquire(t, "rl", id, "old")
	saved := c.key(t, "rl")
	restore := c.snapshot(t)
	c.acquire(t, "rl", id, "new")
	c.put(t, "rl-later", "1")
	last := c.key(t, "rl-later").ModifyIndex
	restore()
	if k := c.key(t, "rl"); k.ModifyIndex != saved.ModifyIndex || k.Session != id || string(k.Value) != "old" || k.LockIndex != 1 {
		t.Errorf("key: got %+v; want it as saved, with ModifyIndex %d", k, saved.ModifyIndex)
	}
	if k, index := c.keyNow(t, "rl-later"); k != nil || index >= last {
		t.Errorf("key written after the snapshot: got %+v, index %d; want none, below %d", k, index, last)
	}
	c.put(t, "rl-next", "1")
	if next := c.key(t, "rl-next").ModifyIndex; next <= last {
		t.Errorf("ModifyIndex of the next write: got %d; want above %d, where raft was", next, last)
	}
	got := c.pollKey("rl", last, 10*testTimeout) // an index of before the restore
	asleep(t, got)
	c.acquire(t, "rl", id, "newest")
	if k, now := answered(t, got); k == nil || string(k.Value) != "newest" || now <= last {
		t.Errorf("poll with an index of before: got %+v, index %d; want the next change, above %d", k, now, last)
	}
}

func restoreAndPoll(t *testing.T, c alone) {
	c.put(t, "rp", "old")
	restore := c.snapshot(t)
	c.put(t, "rp", "new")
	_, index := c.keyNow(t, "rp")
	got := c.pollKey("rp", index, 10*testTimeout)
	asleep(t, got)
	restore()
	if k, now := answered(t, got); k == nil || string(k.Value) != "new" || now != index {
		t.Errorf("poll that waited: got %+v, index %d; want what was there before, under %d", k, now, index)
	}
	if k, now := c.keyNow(t, "rp"); k == nil || string(k.Value) != "old" || now >= index {
		t.Errorf("read after it: got %+v, index %d; want the old value, below %d", k, now, index)
	}
}

func wiped(t *testing.T, c alone) {
	c.put(t, "wi", "1")
	for range 50 { // a fresh cluster has written a few entries of its own
		c.put(t, "wi", time.Now().String())
	}
	_, index := c.keyNow(t, "wi")
	c.restart()
	if k, now := c.keyNow(t, "wi"); k != nil || now >= index || now == 0 {
		t.Errorf("key after the wipe: got %+v, index %d; want none, below %d and above 0", k, now, index)
	}
	got := c.pollKey("wi", index, quiet)
	c.put(t, "wi", "2")
	if k, now := answered(t, got); k == nil || now >= index {
		t.Errorf("poll with an index of the old cluster: got %+v, index %d; want the key at the end of its wait, below %d", k, now, index)
	}
}
