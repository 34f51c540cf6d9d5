package discovery

import (
	"errors"
	"fmt"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/internal/text"
)

// maxValue is the most that the value of a leader key or of a member may hold.
const maxValue = 64 << 10

// entry is what a key of the KV store holds. It is never changed.
type entry struct {
	value   string
	length  int    // of the value; above maxValue it is left out
	session string // that holds the lock; empty: none does
	modify  uint64 // ModifyIndex: rises with the value and with the session
}

func (e *entry) equal(f *entry) bool { return e == f || e != nil && f != nil && *e == *f }

// newEntry is what Consul's client read of key.
func newEntry(key string, pair *api.KVPair) (*entry, error) {
	switch {
	case pair == nil:
		return nil, errors.New("understand the answer: it is a list with no entry")
	case pair.Key != key:
		return nil, fmt.Errorf("understand the answer: it is about the key %s", text.Quoted(pair.Key))
	}
	e := &entry{length: len(pair.Value), session: pair.Session, modify: pair.ModifyIndex}
	if e.length <= maxValue {
		e.value = string(pair.Value)
	}
	return e, nil
}
