package fence

import "time"

// This file is the glue between the machines and Consul, as package discovery has
// it: the reporter's goroutine writes, that of the label looks at what was read.

// process emits what process i may do.
func (m *model) process(s *state, i int, out emit) {
	if s.procs[i].up != running {
		return
	}
	do := func(what string, change func(t *state, p *process)) {
		t := *s
		change(&t, &t.procs[i])
		out(what, i, t)
	}
	p := &s.procs[i]
	m.reads(s, p, do)
	m.labels(s, p, do)
	m.reports(s, i, do)
	for j := range s.entries {
		switch e := &s.entries[j]; {
		case !e.there || e.proc != uint8(i):
		case e.gen < p.gen:
			do("takes away the entry of a dead process", func(t *state, _ *process) { t.entries[j] = modelEntry{} })
		case e.life < p.beat.Life && e.gen == p.gen && (p.label.Revision == 0 || p.label.Life == p.beat.Life || m.left):
			do("takes away the entry of an earlier life", func(t *state, _ *process) { t.entries[j] = modelEntry{} })
		}
	}
}

// reads is what its watch does. A read is answered at once, but for one that was
// on its way when the election came: of those that still say the old master it
// began last, and one that began earlier permits less. So does a later answer to
// any other.
func (m *model) reads(s *state, p *process, do func(string, func(*state, *process))) {
	if p.act != idle {
		return // the label's goroutine looks when it has acted
	}
	if p.read.election != unread {
		do("gets the answer to the read of before the election", func(t *state, p *process) {
			r := p.read
			p.read = sight{}
			m.answer(t, p, r)
		})
	}
	do("reads the election consistently", func(t *state, p *process) { m.answer(t, p, sight{s.elected, s.now}) })
	if s.elected > p.knows && s.elected != lost { // an empty answer is read again
		do("learns the election by its long poll", func(t *state, p *process) {
			p.knows, p.fresh = s.elected, false
			m.look(t, p, 0)
		})
	}
}

func (m *model) answer(t *state, p *process, r sight) {
	if r.election < p.knows {
		return // the index filter: older than what was acted on
	}
	p.knows, p.fresh = r.election, true
	m.look(t, p, r.begun)
}

// labels is what the label's goroutine does: it looks, and then acts.
func (m *model) labels(s *state, p *process, do func(string, func(*state, *process))) {
	switch {
	case p.act == oust:
		do("cuts, since the lease is over, and leaves", func(_ *state, p *process) {
			p.act = idle
			p.connected = p.connected && (m.cut || m.leave)
			p.label, p.said, p.read = LabelLease{}, 0, sight{} // one that began before does not count any more
			p.rev++
		})
	case p.act == serve && p.by == electedB && p.connected && m.once:
		do("waits for B to be ready", func(_ *state, p *process) { p.act, p.by = idle, 0 })
	case p.act == serve:
		do("connects and cuts as the election says, and reports that", func(_ *state, p *process) {
			switch p.by {
			case electedA, electedA2:
				p.connected = true
			case electedB:
				p.connected = false
			}
			m.obey(p, p.by)
			p.act, p.by = idle, 0
		})
	default:
		do("looks at the lease", func(t *state, p *process) { m.look(t, p, 0) })
	}
}

func (m *model) obey(p *process, election uint8) {
	if p.label.Revision == 0 || p.said == election || m.same && p.said == electedA && election == electedA2 {
		return
	}
	p.said = election
	p.rev++
}

func (m *model) lapse(t *state, p *process) {
	p.beat = p.beat.Lapse()
	p.news = true
	t.lapses--
}

// look is reporter.look and labelWatch.mayServe, after the answer to a consistent
// read that began at begun; 0: to none.
func (m *model) look(t *state, p *process, begun time.Duration) {
	p.news = false
	if p.beat.IsOver(t.now) && (p.fresh || p.label.Revision > 0) {
		m.lapse(t, p)
	}
	if p.label.Revision == 0 {
		if p.fresh {
			p.rev++
			p.label, p.said = p.label.Join(p.beat.Life, p.rev), p.knows
		}
		return
	}
	if m.isOut(t.now, p) {
		p.act, p.fresh = oust, false
		return
	}
	p.label = p.label.Look(begun)
	if p.label.Read == 0 {
		return
	}
	p.act, p.by = serve, p.knows
	if m.order {
		m.obey(p, p.by)
	}
	if p.said == p.by && (p.connected == (p.by != electedB) || p.by == lost) {
		p.act, p.by = idle, 0 // nothing new
	}
}

// isOut reports whether the label must cut and leave.
func (m *model) isOut(now time.Duration, p *process) bool {
	return p.label.IsOver(now, p.beat) && !(m.olderRead && p.label.Life == p.beat.Life && p.beat.Stands && !p.beat.IsOver(now))
}

// leaseOf is the label's lease.
func (m *model) leaseOf(p *process) time.Duration {
	ends := p.label.Lease(p.beat)
	switch {
	case ends == 0:
	case m.olderRead:
		ends = p.beat.Ends()
	case m.olderWrite:
		ends = p.label.Read + LeaseOf(modelTTL)
	case m.fifth:
		ends += modelTick
	}
	return ends
}

// mayBegin reports whether the next write is due.
func (m *model) mayBegin(s *state, p *process) bool {
	if p.beat.Doubtful {
		return false
	}
	if !m.others && p.label.Revision == 0 && p.beat.Acked == p.rev {
		return false
	}
	return p.beat.IsOver(s.now) || p.beat.Due(p.rev) <= s.now
}

// isLate reports whether it is too late for the write that is under way.
func (p *process) isLate(now time.Duration) bool {
	b := p.beat
	return b.Doubtful && (b.IsOver(now) || now >= b.Pending.Begun+LeaseOf(modelTTL))
}

// reports is what the reporter's goroutine does.
func (m *model) reports(s *state, i int, do func(string, func(*state, *process))) {
	p := &s.procs[i]
	if m.mayBegin(s, p) {
		for j := range m.writes {
			if s.writes[j].there {
				continue
			}
			do("begins a write", func(t *state, p *process) { m.begin(t, p, i, j, 1) })
			if s.repeats > 0 {
				do("begins a write that is repeated on its way", func(t *state, p *process) {
					t.repeats--
					m.begin(t, p, i, j, 2)
				})
			}
			break // bounded: so many are late at a time
		}
	}
	if p.beat.Doubtful {
		do("reads its entry back", func(t *state, p *process) { m.readBack(t, p, i) })
	}
	if p.isLate(s.now) && !m.late {
		do("lapses, since its write was not answered in time", func(t *state, p *process) { m.lapse(t, p) })
	}
}

func (m *model) begin(t *state, p *process, i, j int, left uint8) {
	if p.beat.IsOver(t.now) {
		m.lapse(t, p)
	}
	p.beat = p.beat.Begin(t.now, p.rev)
	w := p.beat.Pending
	p.beat = p.beat.Unanswered(w) // that it was made does not tell its index: it is read back in any case
	t.writes[j] = modelWrite{there: true, key: key{uint8(i), p.gen, w.Life}, beat: w.Beat, cas: w.CAS, left: left}
	if p.label.Revision > 0 {
		t.writes[j].content = content{true, p.said}
	}
}

func (m *model) readBack(t *state, p *process, i int) {
	var index, beat uint64
	if e := t.entry(m.keyOf(p, i, p.beat.Life)); e != nil {
		index, beat = e.modify, e.beat
	}
	b, w := p.beat, p.beat.Pending
	p.beat = b.ReadBack(t.now, index, beat)
	if m.late && index != 0 && beat == w.Beat {
		p.beat = b
		p.beat.Writing, p.beat.Doubtful = false, false
		p.beat.Stands, p.beat.Index, p.beat.Begun, p.beat.Acked = true, index, w.Begun, w.Revision
	}
	if m.without.begin && p.beat.Begun != b.Begun {
		p.beat.Begun = t.now
	}
	if p.news = true; p.beat.Life != b.Life {
		t.lapses--
		return
	}
	if p.label = p.label.Stand(t.now, p.beat); m.after && p.label.Stood > 0 {
		p.label.Read = max(p.label.Read, p.label.Stood)
	}
}

// giveUp has a process lapse and cut that has been over for a tick: before it does
// it can do nothing else, and all orders have been tried when the tick began.
func (m *model) giveUp(t *state, p *process) {
	over := func(since time.Duration) bool { return t.now > since+LeaseOf(modelTTL) }
	if p.beat.Stands && over(p.beat.Begun) {
		m.lapse(t, p)
	}
	if p.label.Revision > 0 && p.label.IsOver(t.now, p.beat) && p.label.Read > 0 && t.now > p.lease {
		p.connected, p.act, p.by = false, idle, 0
		p.label, p.said, p.fresh, p.read = LabelLease{}, 0, false, sight{}
		p.rev++
	}
}
