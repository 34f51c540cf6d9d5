package datacenter

// This file is the glue between the machines and Consul on the side of an instance, as
// package discovery has it.

// instanceSteps emits what the instance may do.
func (m *model) instanceSteps(s *state, out emit) {
	p := &s.inst
	do := func(what string, change func(t *state, p *instance)) {
		t := *s
		change(&t, &t.inst)
		out(what, t)
	}
	switch {
	case m.alone:
		return
	case !p.on:
		do("the instance starts", func(_ *state, p *instance) { p.on = true })
		return
	case s.restarts > 0:
		do("the instance is killed", func(t *state, p *instance) { t.restarts--; *p = instance{} })
	}
	if s.lapses > 0 && (p.own || p.at > 0) {
		do("the lease lapses: it cuts, and leaves", func(t *state, p *instance) { t.lapses--; m.lapse(p) })
	} else if p.own && s.isDown(m.home) || s.isDown(p.at) {
		do("the lease lapses, since it cannot be renewed: it cuts, and leaves", func(_ *state, p *instance) { m.lapse(p) })
	}
	for dc := uint8(1); dc <= m.places; dc++ {
		if s.isDown(dc) {
			continue
		}
		do("the instance reads the entry in "+names[dc], func(t *state, p *instance) {
			m.take(p, dc, t.places[dc-1].entry, m.stand(p, dc))
		})
		if s.lates > 0 && p.late == 0 {
			do("the instance's read of the entry in "+names[dc]+" is on its way", func(t *state, p *instance) {
				t.lates--
				p.late, p.seen, p.lateOK = dc, t.places[dc-1].entry, m.stand(p, dc)
			})
		}
	}
	if p.late > 0 {
		do("the instance gets the answer of before from "+names[p.late], func(_ *state, p *instance) {
			dc, seen, ok := p.late, p.seen, p.lateOK
			if m.afterOwn {
				ok[0] = m.stand(p, dc)[0]
			}
			p.late = 0
			m.take(p, dc, seen, ok)
		})
	}
	m.labelSteps(s, do)
}

// stand reports whether the report stands since which the entries of all data centres
// must have been read, and the one in dc that says that the instance serves. An
// instance that is outside has its own report where nobody looks who activates: the
// other one counts for both.
func (m *model) stand(p *instance, dc uint8) [2]bool {
	if m.home == outside && !m.outsideOwn {
		return [2]bool{p.own && p.at > 0, p.at == dc}
	}
	return [2]bool{p.own, p.at == dc}
}

// move has the report that serves be in dc; 0: nowhere.
func (m *model) move(p *instance, dc uint8) {
	p.at, p.atTerm, p.fresh, p.lateOK[1] = dc, p.newest.term, false, false
	if m.home == outside && !m.outsideOwn {
		p.cleared, p.lateOK[0] = 0, false
	}
}

// follower is the machine with what the instance knows. What was read since the own
// report stands was begun at 2, and that is at 1.
func (m *model) follower(p *instance) Follower {
	f := NewFollower(m.names())
	f.Take(names[1], Read{Understood: true, Entry: p.newest.entry()})
	for dc := uint8(1); dc <= m.places; dc++ {
		if p.cleared.has(dc) {
			f.Take(names[dc], Read{Understood: true, Entry: p.newest.entry(), Begun: 2})
		}
	}
	f.split = p.split
	return f
}

// take takes the answer to a read. ok: whether the own report, and that in dc, stood
// when it began.
func (m *model) take(p *instance, dc uint8, r record, ok [2]bool) {
	f := m.follower(p)
	if m.forgets {
		f.newest, f.split = Entry{}, false
	}
	f.Take(names[dc], Read{Understood: true, Entry: r.entry(), Begun: 2})
	p.newest, p.split = recordOf(f.newest), f.split
	if ok[0] && p.own {
		p.cleared |= maskOf(dc)
	}
	if ok[1] && p.at == dc {
		p.fresh = true
	}
}

// wants is the data centre that is active, as far as the instance knows; 0: none.
func (m *model) wants(p *instance) uint8 {
	f := m.follower(p)
	active, _ := f.Active()
	return numberOf(active)
}

// labelSteps is what the label's goroutine does: it looks at what is known, cuts, and
// reports that.
func (m *model) labelSteps(s *state, do func(string, func(*state, *instance))) {
	p := &s.inst
	wants := m.wants(p)
	mustCut := p.conn > 0 && p.conn != wants && !(m.ignoresNobody && wants == 0)
	switch {
	case mustCut:
		do("the instance cuts", func(_ *state, p *instance) { p.conn = 0 })
	case p.at > 0 && p.at != wants && p.conn == 0:
		do("the instance leaves the report in "+names[p.at], func(_ *state, p *instance) { m.move(p, 0) })
	case wants > 0 && p.at == 0 && p.conn == 0 && !s.isDown(wants) && (wants != m.home || p.own):
		do("the instance's report in "+names[wants]+" says that it serves", func(_ *state, p *instance) { m.move(p, wants) })
	case p.conn == 0 && m.mayConnect(s, wants):
		do("the instance connects to "+names[wants], func(_ *state, p *instance) { p.conn, p.connTerm = wants, p.newest.term })
	case p.conn > 0 && p.conn == wants && p.connTerm < p.newest.term:
		do("the instance stays connected by the newer entry", func(_ *state, p *instance) { p.connTerm = p.newest.term })
	}
	if !p.own && (p.newest.term > 0 || m.joinsEarly) && !s.isDown(m.home) {
		do("the instance's own report stands", func(_ *state, p *instance) {
			p.own, p.ownTerm, p.cleared, p.kept = true, p.newest.term, p.kept, 0
		})
	}
	if mustCut && !m.order {
		return
	}
	if p.own && p.ownTerm < p.newest.term && !s.isDown(m.home) {
		do("the instance's own report has the newer term", func(_ *state, p *instance) { p.ownTerm = p.newest.term })
	}
	if p.at > 0 && p.at != m.home && p.atTerm < p.newest.term && !s.isDown(p.at) {
		do("the instance's report where it serves has the newer term", func(_ *state, p *instance) { p.atTerm = p.newest.term })
	}
}

// mayConnect reports whether clients may be connected to the master in dc.
func (m *model) mayConnect(s *state, dc uint8) bool {
	p := &s.inst
	switch {
	case dc == 0 || s.isDown(dc):
		return false
	case !p.own:
		return false
	case !m.servingReport && (p.at != dc || !p.fresh):
		return false
	}
	f := m.follower(p)
	for _, unread := range f.Unread(1) {
		if near := numberOf(unread) == dc || numberOf(unread) == m.home; !m.clears && (near || !m.onlyNear) {
			return false
		}
	}
	if m.noWithout && p.cleared != m.all() {
		return false
	}
	return true
}

// lapse ends what the reports permit.
func (m *model) lapse(p *instance) {
	if m.lapseKeeps {
		p.kept = p.cleared
	}
	p.own, p.at, p.lateOK = false, 0, [2]bool{}
	p.conn = 0
}

func (s *state) isDown(dc uint8) bool { return dc > 0 && s.places[dc-1].down }
