package consultest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// keyRow is one key. Session is left out when nobody holds the lock.
type keyRow struct {
	LockIndex uint64
	Key       string
	Flags     uint64
	Value     []byte
	Session   string `json:",omitempty"`
	indexes
}

// putKey stores k; an identical one leaves no trace.
func (st *state) putKey(k keyRow, idx uint64) {
	old, was := st.keys[k.Key]
	k.indexes = old.indexes
	if was && k.LockIndex == old.LockIndex && k.Flags == old.Flags && k.Session == old.Session && bytes.Equal(k.Value, old.Value) {
		return
	}
	k.indexes = old.at(idx)
	st.keys[k.Key] = k
	st.keysIndex = idx
}

// setKey is a plain write. Who holds the lock still does, but LockIndex is lost: so it is in Consul.
func (st *state) setKey(k keyRow, idx uint64) {
	k.Session, k.LockIndex = st.keys[k.Key].Session, 0
	st.putKey(k, idx)
}

// setKeyIf writes if the key was last changed at index was; 0: if it is not there.
func (st *state) setKeyIf(k keyRow, was, idx uint64) bool {
	if st.keys[k.Key].ModifyIndex != was {
		return false
	}
	st.setKey(k, idx)
	return true
}

// lockKey takes or keeps the lock for k.Session.
func (st *state) lockKey(k keyRow, idx uint64) (bool, error) {
	if k.Session == "" {
		return false, errors.New("missing session")
	}
	if _, ok := st.sessions[k.Session]; !ok {
		return false, fmt.Errorf("invalid session %q", k.Session)
	}
	switch old := st.keys[k.Key]; old.Session {
	case k.Session:
		k.LockIndex = old.LockIndex
	case "":
		k.LockIndex = old.LockIndex + 1
	default:
		return false, nil
	}
	st.putKey(k, idx)
	return true, nil
}

// lockDelayed reports whether a lock delay forbids taking the key now.
func (st *state) lockDelayed(key string, now time.Time) bool {
	until, ok := st.lockDelays[key]
	if ok && !until.After(now) {
		delete(st.lockDelays, key)
	}
	return ok && until.After(now)
}

// unlockKey gives the lock up, if k.Session holds it, and writes k.
func (st *state) unlockKey(k keyRow, idx uint64) (bool, error) {
	if k.Session == "" {
		return false, errors.New("missing session")
	}
	old, ok := st.keys[k.Key]
	if !ok || old.Session != k.Session {
		return false, nil
	}
	k.Session, k.LockIndex = "", old.LockIndex
	st.putKey(k, idx)
	return true, nil
}

func (st *state) deleteKey(key string, idx uint64) {
	if _, ok := st.keys[key]; !ok {
		return
	}
	delete(st.keys, key)
	st.graves[key] = idx
	st.keysIndex = idx
}

// deleteKeyIf deletes if the key was last changed at index was. Consul calls
// it done when there is no such key, and 0 never matches one.
func (st *state) deleteKeyIf(key string, was, idx uint64) bool {
	k, ok := st.keys[key]
	if ok && k.ModifyIndex != was {
		return false
	}
	st.deleteKey(key, idx)
	return true
}

func (st *state) deleteKeys(prefix string, idx uint64) {
	for _, k := range st.listKeys(prefix) {
		st.deleteKey(k.Key, idx)
	}
}

// listKeys lists the keys under prefix in order.
func (st *state) listKeys(prefix string) []keyRow {
	out := []keyRow{}
	for _, k := range st.keys {
		if strings.HasPrefix(k.Key, prefix) {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, func(a, b keyRow) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// prefixIndex is the last change, deletions included, under prefix; 0: never one.
func (st *state) prefixIndex(prefix string) uint64 {
	if prefix == "" {
		return st.keysIndex
	}
	var last uint64
	for key, k := range st.keys {
		if strings.HasPrefix(key, prefix) {
			last = max(last, k.ModifyIndex)
		}
	}
	for key, at := range st.graves {
		if strings.HasPrefix(key, prefix) {
			last = max(last, at)
		}
	}
	return last
}
