package fence

import "time"

// badReads are what await-fence must not rely on.
func (m *model) badReads(s *state, out emit) {
	t := *s
	if m.complete && m.awaitLook(&t, func(*modelEntry) bool { return false }) {
		out("await-fence reads a list that is filtered, and returns 0", -1, t)
	}
	t = *s
	if m.consistent && m.awaitLook(&t, func(e *modelEntry) bool { return e.modify != s.raft }) {
		out("await-fence reads from a server that lags by one index, and returns 0", -1, t)
	}
}

// clock is that of await-fence.
func (m *model) clock(t time.Duration) time.Duration {
	if m.patience {
		return t * 51 / 40
	}
	return t * 51 / 50
}

var values = func() (out [2][5][]byte) {
	for has := range out {
		for obeyed := range out[has] {
			e := Entry{TTL: modelTTL.Seconds()}
			if has == 1 {
				e.Labels = map[string]State{label: {Obeyed: uint64(obeyed)}}
			}
			out[has][obeyed] = e.Encode()
		}
	}
	return out
}()

// awaitLook has await-fence look at those entries that sees lets through, and
// reports whether it returns.
func (m *model) awaitLook(t *state, sees func(*modelEntry) bool) bool {
	a := Await{Label: label, Index: uint64(t.await.index), seen: make(map[string]sighting)}
	if m.election {
		a.Index = electedA
	}
	var list []Found
	name := func(k key) string { return string([]byte{k.proc, k.gen, byte(k.life)}) }
	for i := range t.entries {
		e := &t.entries[i]
		if !e.there || !sees(e) {
			continue
		}
		f := Found{Key: name(e.key), Modify: e.modify, Value: values[0][e.obeyed]}
		if e.has {
			f.Value = values[1][e.obeyed]
		}
		list = append(list, f)
		if e.seenModify != 0 {
			a.seen[f.Key] = sighting{e.seenModify, m.clock(e.seenSince)}
		}
	}
	behind, dead := a.Look(m.clock(t.now), list)
	for i := range t.entries {
		e := &t.entries[i]
		if seen, ok := a.seen[name(e.key)]; !ok {
			e.seenModify = 0
		} else if e.seenModify != seen.modify {
			e.seenModify, e.seenSince = seen.modify, t.now
		}
		if len(dead) > 0 && t.await.cas == 0 && e.there && name(e.key) == dead[0].Key {
			t.await.del, t.await.cas = e.key, dead[0].Modify
		}
	}
	if len(behind) > 0 {
		return false
	}
	t.await.state = returned
	return true
}
