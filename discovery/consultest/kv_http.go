package consultest

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (b *backend) kvGet(c *call) (*Answer, error) {
	if c.has("recurse") || c.has("keys") {
		return b.query(c, func(st *state) reading { return c.readKeys(st) })
	}
	if c.rest == "" {
		return nil, refuse(http.StatusBadRequest, "Missing key name")
	}
	if c.keyDenied(c.rest) {
		return nil, c.lacks("key:read", c.rest)
	}
	return b.query(c, func(st *state) reading {
		k, ok := st.keys[c.rest]
		if !ok {
			return reading{index: st.keysIndex, version: st.keysIndex, missing: true}
		}
		r := reading{value: []keyRow{k}, index: k.ModifyIndex, version: k.ModifyIndex}
		if c.has("raw") {
			r.value = rawValue(k.Value)
		}
		return r
	})
}

// readKeys lists the keys under a prefix, or their names alone.
func (c *call) readKeys(st *state) reading {
	all := st.listKeys(c.rest)
	found := slices.DeleteFunc(slices.Clone(all), func(k keyRow) bool { return c.keyDenied(k.Key) })
	version := st.prefixIndex(c.rest)
	r := reading{value: found, index: version, version: version, missing: len(found) == 0, filtered: len(found) < len(all)}
	if version == 0 {
		r.index = st.keysIndex
	}
	if !c.has("keys") {
		return r
	}
	sep := c.args.Get("separator")
	names := []string{}
	for _, k := range found {
		name := k.Key
		if i := strings.Index(name[len(c.rest):], sep); sep != "" && i >= 0 {
			name = name[:len(c.rest)+i+len(sep)]
		}
		names = append(names, name)
	}
	r.value = slices.Compact(names)
	return r
}

func (b *backend) kvPut(c *call) (*Answer, error) {
	if c.rest == "" {
		return nil, refuse(http.StatusBadRequest, "Missing key name")
	}
	if n := btoi(c.has("cas")) + btoi(c.has("acquire")) + btoi(c.has("release")); n > 1 {
		return nil, refuse(http.StatusBadRequest, "Conflicting flags: %s", c.args.Encode())
	}
	if c.keyDenied(c.rest) {
		return nil, c.lacks("key:write", c.rest)
	}
	k := keyRow{Key: c.rest, Value: c.body}
	cas, err := c.number("cas")
	if err != nil {
		return nil, err
	}
	if k.Flags, err = c.number("flags"); err != nil {
		return nil, err
	}
	ok := true
	err = b.store.update(func(st *state, idx uint64) (err error) {
		switch {
		case c.has("cas"):
			ok = st.setKeyIf(k, cas, idx)
		case c.has("acquire"):
			if k.Session = c.args.Get("acquire"); st.lockDelayed(k.Key, time.Now()) {
				ok = false
				return nil
			}
			ok, err = st.lockKey(k, idx)
		case c.has("release"):
			k.Session = c.args.Get("release")
			ok, err = st.unlockKey(k, idx)
		default:
			st.setKey(k, idx)
		}
		return err
	})
	if err != nil {
		return nil, refuse(http.StatusInternalServerError, "raft apply failed: %v", err)
	}
	return jsonAnswer(ok), nil
}

func (b *backend) kvDelete(c *call) (*Answer, error) {
	if c.rest == "" && !c.has("recurse") {
		return nil, refuse(http.StatusBadRequest, "Missing key name")
	}
	if c.has("recurse") && c.has("cas") {
		return nil, refuse(http.StatusBadRequest, "Conflicting flags: %s", c.args.Encode())
	}
	if c.keyDenied(c.rest) || c.has("recurse") && c.treeDenied(c.rest) {
		return nil, c.lacks("key:write", c.rest)
	}
	cas, err := c.number("cas")
	if err != nil {
		return nil, err
	}
	ok := true
	err = b.store.update(func(st *state, idx uint64) error {
		switch {
		case c.has("recurse"):
			st.deleteKeys(c.rest, idx)
		case c.has("cas"):
			ok = st.deleteKeyIf(c.rest, cas, idx)
		default:
			st.deleteKey(c.rest, idx)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return jsonAnswer(ok), nil
}

// number is an argument as a number; 0 when absent. Consul answers 500 to what is none.
func (c *call) number(name string) (uint64, error) {
	if !c.has(name) {
		return 0, nil
	}
	return strconv.ParseUint(c.args.Get(name), 10, 64)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
