package fence

// model is what may happen, and which rules are left out.
type model struct {
	procs  int
	writes int  // on their way at a time, at most
	others bool // the entry has other labels, and is written whether or not it has this one
	loss   bool // the lock may be free for a while
	urgent bool // all who run do what is due before time goes on: for the bound on await-fence
	stay   bool // who is stopped does not go on
	start  state
	without
}

// without are the rules that are left out, or broken, each named after what is missing.
type without struct {
	lease      bool // 2: it is not looked at before a transfer
	begin      bool // it counts from when the answer came
	olderWrite bool // it counts from the read alone
	olderRead  bool // it counts from the write alone
	fifth      bool // it lasts a tick longer

	cut  bool // 3: a lapse does not cut
	late bool // a late answer goes on where a lapse is due

	after bool // 4: the read that the label joined on connects

	order bool // 5: obeyed is written before the cut
	once  bool // the cut waits for the new master to be ready
	same  bool // obeyed stays where the master stays

	consistent bool // 6: the list may come from a server that lags
	election   bool // the election may
	complete   bool // the list may be filtered
	change     bool // dead is who is old, not who does not change
	patience   bool // dead is who has not changed for a tick less
	cas        bool // the deletion is unconditional

	linger bool // 7: a killed process delivers what is in its queues

	random bool // 1: another life has the same key
	left   bool // an entry is taken away though its labels have not left
	leave  bool // a label leaves before it has cut
}

type emit func(what string, who int, s state)

// successors emits each state that may follow at once.
func (m *model) successors(s *state, out emit) {
	next := func(what string, who int, t state) {
		if t.await.state == awaiting && (t.now != s.now || t.entries != s.entries || t.await != s.await) {
			// It reads all the time: one that reads less often, or begins later, learns
			// later who is dead, and returns later.
			if m.awaitLook(&t, func(*modelEntry) bool { return true }) {
				what += "; await-fence returns 0:"
			}
		}
		out(what, who, t)
	}
	m.world(s, next)
	for i := range m.procs {
		m.process(s, i, next)
	}
	m.consul(s, next)
	if s.await.state == awaiting {
		m.badReads(s, out)
	}
}

// world is what happens by itself.
func (m *model) world(s *state, out emit) {
	if !m.urgent || m.settled(s) {
		t := *s
		t.now += modelTick
		if m.urgent && s.await.state == awaiting {
			t.waited = min(t.waited+1, 99)
		}
		for i := range m.procs {
			if p := &t.procs[i]; p.up == running && m.without == (without{}) {
				m.giveUp(&t, p)
			}
		}
		out("a tick", -1, t)
		if m.urgent && s.await.state == notBegun && s.elected >= electedB {
			t := *s
			t.await.state, t.await.index = awaiting, s.elected
			out("await-fence begins", -1, t)
		}
	}
	for _, e := range []uint8{lost, electedB, electedA2} {
		if (e != lost || m.loss) && s.elected < e && s.elected < electedB && (e != electedA2 || m.urgent) {
			t := *s
			for i := range t.procs {
				if p := &t.procs[i]; p.up == running || p.up == stopped {
					p.read = sight{s.elected, s.now} // on its way
				}
			}
			t.elected = e
			if e >= electedB && !m.urgent {
				t.await.state, t.await.index = awaiting, e
			}
			out([]string{lost: "Consul: the lock is free", electedB: "Consul: B is elected", electedA2: "Consul: A is elected anew"}[e], -1, t)
		}
	}
	for i := range m.procs {
		p := &s.procs[i]
		switch {
		case p.up == down, p.up == killed && p.gen == 0:
			t := *s
			t.procs[i] = process{up: running, gen: p.gen, queued: p.queued, beat: Beat{TTL: modelTTL}}
			if p.up == killed {
				t.procs[i].gen++
			}
			out("starts", i, t)
		case p.up == stopped && !m.stay:
			t := *s
			t.procs[i].up = running
			out("goes on", i, t)
		}
		if s.stops > 0 && p.up == running {
			t := *s
			t.stops--
			t.procs[i].up = stopped
			out("is stopped", i, t)
		}
		if s.kills > 0 && (p.up == running || p.up == stopped) {
			t := *s
			t.kills--
			q := &t.procs[i]
			q.queued = q.queued || q.connected && m.linger
			q.up, q.connected = killed, false
			out("is killed", i, t)
			if p.up == running { // the last connection has ended
				t.procs[i].queued = p.queued
				for j := range t.entries {
					if e := &t.entries[j]; e.there && e.proc == uint8(i) && e.gen == p.gen {
						*e = modelEntry{}
					}
				}
				out("ends in order and takes its report away", i, t)
			}
		}
	}
}

func (s *state) entry(k key) *modelEntry {
	for i := range s.entries {
		if e := &s.entries[i]; e.there && e.key == k {
			return e
		}
	}
	return nil
}

func (m *model) keyOf(p *process, i int, life int) key {
	if m.random {
		life = 0
	}
	return key{uint8(i), p.gen, life}
}

// consul makes the writes that are on their way, in any order and at any time.
func (m *model) consul(s *state, out emit) {
	for i := range s.writes {
		if !s.writes[i].there {
			continue
		}
		t := *s
		w := t.writes[i]
		if t.writes[i].left--; w.left == 1 {
			t.writes[i] = modelWrite{}
		}
		k := w.key
		if m.random {
			k.life = 0
		}
		e := t.entry(k)
		switch {
		case e == nil && w.cas == 0:
			if e = t.free(); e == nil {
				continue // bounded: no process has so many entries
			}
			*e = modelEntry{there: true, key: k}
			fallthrough
		case e != nil && e.modify == w.cas:
			t.raft++
			if m.change && e.seenModify == e.modify {
				e.seenModify = t.raft
			}
			e.modify, e.beat, e.content = t.raft, w.beat, w.content
			out("has its write made", int(w.proc), t)
		default:
			if s.awaits(&w) {
				u := t
				p := &u.procs[w.proc]
				p.beat, p.news = p.beat.Refused(p.beat.Pending), true
				u.lapses--
				out("hears that its write is refused", int(w.proc), u)
			}
			out("has its write refused, and does not hear it", int(w.proc), t)
		}
		t = *s
		t.writes[i] = modelWrite{}
		out("has its write lost", int(w.proc), t)
	}
	if s.await.cas != 0 {
		t := *s
		if e := t.entry(s.await.del); e != nil && (e.modify == s.await.cas || m.cas) {
			*e = modelEntry{}
		}
		t.await.del, t.await.cas = key{}, 0
		out("Consul looks at the deletion by await-fence", -1, t)
	}
}

func (s *state) free() *modelEntry {
	for i := range s.entries {
		if !s.entries[i].there {
			return &s.entries[i]
		}
	}
	return nil
}

// awaits reports whether its process awaits the answer to w.
func (s *state) awaits(w *modelWrite) bool {
	p := &s.procs[w.proc]
	b := &p.beat
	return p.up == running && w.gen == p.gen && b.Doubtful && b.Pending.Beat == w.beat && b.Pending.Life == w.life
}

// settled reports whether all who run have done what is due at this moment.
func (m *model) settled(s *state) bool {
	if s.await.state == awaiting && s.await.cas != 0 {
		return false
	}
	for i := range s.procs {
		p := &s.procs[i]
		if p.up != running {
			continue
		}
		if p.news || p.act != idle || m.isOut(s.now, p) || m.mayBegin(s, p) || p.isLate(s.now) {
			return false
		}
	}
	return true
}

// violation reports whether a client may get an answer of the old master though
// await-fence has returned.
func (m *model) violation(s *state) bool {
	if s.await.state != returned || !isOld(s.elected) {
		return false
	}
	for i := range s.procs {
		p := &s.procs[i]
		// Who has looked at the lease in time makes the call after it, but less than a
		// tick after: rule 8.
		if p.queued || p.connected && (s.now < p.lease+modelTick || m.lease) {
			return true
		}
	}
	return false
}

// isOver reports whether nothing can go wrong any more: await-fence has returned,
// and each process knows the election and has acted upon it. One that is started
// later, with whatever there is in Consul, is like one that was not started before.
func (m *model) isOver(s *state) bool {
	if s.await.state != returned {
		return false
	}
	for i := range s.procs {
		p := &s.procs[i]
		if p.up == down || p.up == killed && p.gen == 0 || (p.up == running || p.up == stopped) && (p.knows < electedB || p.connected || p.act == serve && p.by < electedB) {
			return false
		}
	}
	return true
}
