package datacenter

// model is what may happen, and which rules are left out.
type model struct {
	places     uint8
	runs       int
	home       uint8 // of the instance
	onlyTarget uint8 // 0: each may be activated
	alone      bool  // there is no instance
	between    bool  // entries are lost only while nobody activates and the instance is connected
	start      state
	plans      plans
	without
}

// without are the rules that are left out, or broken, each named after what is missing.
type without struct {
	forgets       bool // what was read last counts, not the highest
	ownReport     bool // there is no report in the own data centre
	servingReport bool // there is none where the instance serves
	afterOwn      bool // a read counts that began before the own report stood
	outsideOwn    bool // of an instance outside, the own report counts
	clears        bool // the entries need not be read
	onlyNear      bool // only those of the own data centre and of the active one
	lapseKeeps    bool // after a lapse they need not be read again
	noWithout     bool // those must be read that the newest was written without
	joinsEarly    bool // a report stands before an entry was seen
	order         bool // the term is reported before the cut
	ignoresNobody bool // nobody is active: it stays

	skipsUnread   bool // a data centre that cannot be read is skipped without --force
	noNobody      bool // the target is active at once
	noAwait       bool // reports are not waited for
	awaitsTarget  bool // ... but for those in the target
	noOver        bool // --force does not wait for leases
	aboveOne      bool // nobody has a term of 1 more
	highestFirst  bool // the highest terms are written first
	entriesOnly   bool // terms in reports do not count
	ignoresHigher bool // a report may have a higher term
	noCAS         bool // writes are unconditional
	noConfirm     bool // the entries are not read again
	noWithoutSaid bool // the entry does not say who was forced

}

type emit func(what string, s state)

func (m *model) all() mask { return 1<<m.places - 1 }

func (m *model) names() []string { return names[1 : m.places+1] }

// successors emits each state that may follow at once.
func (m *model) successors(s *state, out emit) {
	m.world(s, out)
	m.instanceSteps(s, out)
	for i := range m.runs {
		m.runSteps(s, i, out)
	}
}

// world is what happens by itself.
func (m *model) world(s *state, out emit) {
	for dc := uint8(1); dc <= m.places; dc++ {
		at := &s.places[dc-1]
		if at.down {
			if !s.isVouchedFor(dc) || m.skipsUnread {
				t := *s
				t.places[dc-1].down = false
				out(names[dc]+" is back with what it had", t)
			}
			continue
		}
		if s.downs > 0 {
			t := *s
			t.downs--
			t.places[dc-1].down = true
			if t.inst.conn == dc {
				t.inst.conn = 0
			}
			out(names[dc]+" is down, Consul and master", t)
		}
		if s.losses > 0 && at.entry.term > 0 && !(m.between && (s.isActivating() || s.inst.conn == 0)) {
			t := *s
			t.losses--
			t.places[dc-1].entry = record{}
			for i := range t.runs {
				if r := &t.runs[i]; r.cas[dc-1] == fresh {
					r.cas[dc-1] = stale
				}
			}
			out("somebody deletes the entry in "+names[dc], t)
		}
	}
}

// isActivating reports whether a run is under way.
func (s *state) isActivating() bool {
	for i := range s.runs {
		if p := s.runs[i].phase; p == reading || p == stepping || p == killed {
			return true
		}
	}
	return false
}

// isVouchedFor reports whether dc must stay down.
func (s *state) isVouchedFor(dc uint8) bool {
	for i := range s.runs {
		if r := &s.runs[i]; r.force.has(dc) && (r.phase == reading || r.phase == stepping) {
			return true
		}
	}
	return false
}

// violation reports what must not be: with an entry that names a data centre written,
// somebody has connections to another by an older one. Two instances that are connected to different
// ones cannot be without that: the newer of their two entries was written.
func (m *model) violation(s *state) string {
	switch p := &s.inst; {
	case p.conn > 0 && s.top.active != p.conn && (s.top.term > p.connTerm || m.between):
		return "an instance serves another data centre than the one activated last"
	case s.wrong == outranked:
		return "the return of a data centre undoes an activation"
	case s.wrong == doubled:
		return "two entries of one term name different data centres"
	}
	return ""
}
