package datacenter

import "fmt"

// This file is the glue on the side of the command: it does what Activation orders,
// one thing at a time, whatever happens in between.

// runSteps emits what run i may do.
func (m *model) runSteps(s *state, i int, out emit) {
	r := &s.runs[i]
	do := func(what string, change func(t *state, r *run)) {
		t := *s
		change(&t, &t.runs[i])
		out(what, t)
	}
	switch r.phase {
	case unbegun:
		if i == 0 || s.runs[i-1].phase != unbegun { // one like the other
			m.begins(s, do)
		}
	case reading:
		m.reads(s, r, do)
	case stepping, killed:
		m.carryOut(s, r, do)
	}
	if s.kills > 0 && (r.phase == reading || r.phase == stepping) && r.force > 0 {
		// One without force that is killed is like one that does nothing more.
		do("the command is killed", func(t *state, r *run) { t.kills--; r.end(failed) })
		if r.phase == stepping && m.stepOf(r).Kind == Write {
			do("the command is killed with a write on its way", func(t *state, r *run) { t.kills--; r.phase = killed })
		}
	}
}

// begins has a run begin, for every target, with and without --force.
func (m *model) begins(s *state, do func(string, func(*state, *run))) {
	for target := uint8(1); target <= m.places; target++ {
		if m.onlyTarget > 0 && target != m.onlyTarget {
			continue
		}
		do("activate "+names[target], func(t *state, r *run) {
			r.phase, r.target, r.settles = reading, target, !t.isForcing()
		})
		for dc := uint8(1); dc <= m.places; dc++ {
			force := maskOf(dc)
			if dc == target || !s.isDown(dc) || s.vouch&^force != 0 {
				continue // it is there, or another one was forced before
			}
			do("activate "+names[target]+" --force, "+names[dc]+" being down", func(t *state, r *run) {
				r.phase, r.target, r.force = reading, target, force
				t.vouch |= force
				for i := range t.runs {
					t.runs[i].settles = false
				}
			})
		}
	}
}

func (m *model) reads(s *state, r *run, do func(string, func(*state, *run))) {
	for dc := uint8(1); dc <= m.places; dc++ {
		if r.read.has(dc) || r.force.has(dc) {
			continue
		}
		if m.skipsUnread && dc != r.target {
			do("the command cannot read the entry in "+names[dc]+", and goes on", func(_ *state, r *run) { r.force |= maskOf(dc) })
		}
		if s.isDown(dc) {
			continue
		}
		do("the command reads the entry in "+names[dc], func(t *state, r *run) {
			r.read |= maskOf(dc)
			e := t.places[dc-1].entry
			if r.found[dc-1], r.cas[dc-1] = e, fresh; e.term == 0 {
				r.cas[dc-1] = absent
			}
		})
		return // in this order: what is written in between is refused by compare-and-set in either
	}
	if r.read|r.force == m.all() {
		do("the command lists the reports, and knows what to do", func(t *state, r *run) { m.plan(t, r) })
	}
}

func (m *model) stepOf(r *run) Step { return m.plans.all[r.plan].steps[r.next] }

// advance goes on with the next step, if there is one.
func (m *model) advance(t *state, r *run) {
	r.next++
	m.finish(t, r)
}

// finish looks whether the run has done everything.
func (m *model) finish(t *state, r *run) {
	if int(r.next) < len(m.plans.all[r.plan].steps) {
		return
	}
	if r.settles {
		t.vouch = 0
	}
	r.end(done)
}

// isForcing reports whether a run with --force is under way, or has left a write that
// is not made yet.
func (s *state) isForcing() bool {
	for i := range s.runs {
		if r := &s.runs[i]; r.force > 0 && (r.phase == reading || r.phase == stepping || r.phase == killed) {
			return true
		}
	}
	return false
}

// reports are the lowest and the highest term in the reports in dc; 0: there is none.
func (m *model) reports(s *state, dc uint8) (lowest, highest uint32) {
	p := &s.inst
	add := func(term uint32) {
		if term == 0 {
			return // it is of a label with one data centre
		}
		if highest = max(highest, term); lowest == 0 || term < lowest {
			lowest = term
		}
	}
	if p.own && m.home == dc && !m.ownReport {
		add(p.ownTerm)
	}
	if p.at == dc && p.at != m.home && !m.servingReport {
		add(p.atTerm)
	}
	return lowest, highest
}

// carryOut emits that a step is done.
func (m *model) carryOut(s *state, r *run, do func(string, func(*state, *run))) {
	switch step := m.stepOf(r); step.Kind {
	case Write:
		if dc := numberOf(step.Datacenter); !s.isDown(dc) {
			do(fmt.Sprintf("the command writes %v in %s", recordOf(step.Entry), names[dc]), func(t *state, r *run) { m.write(t, r, dc, recordOf(step.Entry)) })
		}
	case Await:
		if highest, over := m.awaits(s, step); over {
			do("the command finds no report behind", func(t *state, r *run) {
				if uint64(highest) > step.Term && !m.ignoresHigher {
					r.end(failed)
					return
				}
				m.advance(t, r)
			})
		}
	case Confirm:
		m.confirm(s, r, step, do)
	}
}

// awaits reports whether nothing is to be waited for any more.
func (m *model) awaits(s *state, step Step) (highest uint32, over bool) {
	for _, name := range step.Datacenters {
		dc := numberOf(name)
		if s.isDown(dc) {
			return 0, false
		}
		l, h := m.reports(s, dc)
		if l > 0 && uint64(l) < step.Term {
			return 0, false
		}
		highest = max(highest, h)
	}
	for _, name := range step.Over {
		if dc := numberOf(name); s.inst.own && m.home == dc || s.inst.at == dc {
			return 0, false
		}
	}
	return highest, true
}

// confirm reads the entries again, one after the other.
func (m *model) confirm(s *state, r *run, step Step, do func(string, func(*state, *run))) {
	for _, name := range step.Datacenters {
		dc := numberOf(name)
		if r.read.has(dc) || s.isDown(dc) {
			continue
		}
		do("the command reads the entry in "+name+" again", func(t *state, r *run) {
			if at := t.places[dc-1].entry; r.cas[dc-1] == stale || (r.cas[dc-1] == absent) != (at.term == 0) {
				r.end(failed)
				return
			}
			if r.read |= maskOf(dc); r.read&maskOfNames(step.Datacenters) == maskOfNames(step.Datacenters) {
				m.advance(t, r)
			}
		})
		return
	}
}

// write has Consul look at a write.
func (m *model) write(t *state, r *run, dc uint8, e record) {
	there := &t.places[dc-1].entry
	ok := m.noCAS || r.cas[dc-1] == fresh || r.cas[dc-1] == absent && there.term == 0
	if !ok {
		r.end(failed)
		return
	}
	m.check(t, r, dc, e)
	*there = e
	for i := range t.runs {
		if q := &t.runs[i]; q.cas[dc-1] == fresh {
			q.cas[dc-1] = stale
		}
	}
	if r.cas[dc-1] = fresh; r.phase == killed {
		r.end(failed)
		return
	}
	m.advance(t, r)
}

// check notes what is wrong with e when it is written in dc.
func (m *model) check(t *state, r *run, dc uint8, e record) {
	if e.active == 0 {
		return
	}
	if e.term > t.top.term || m.between { // where entries were lost, terms may begin anew
		t.top = e
	}
	forced := m.plans.all[r.plan].forced
	for other := uint8(1); other <= m.places; other++ {
		there := t.places[other-1].entry
		switch {
		case r.phase != killed && forced.has(other) && t.isDown(other) && there.term >= e.term:
			t.wrong = outranked
		case other != dc && there.term == e.term && there.active != e.active, t.inst.newest.term == e.term && t.inst.newest.active != e.active:
			t.wrong = doubled
		}
	}
}
