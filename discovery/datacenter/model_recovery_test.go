package datacenter

// recovery looks whether an activation succeeds from any state, and the instance
// connects then: once with all data centres there, and once by force without one that is down.
type recovery struct {
	m     *model
	known map[state]struct{}
}

func newRecovery(m *model) *recovery { return &recovery{m, make(map[state]struct{})} }

// fails says what does not succeed from s; empty: everything does.
func (r *recovery) fails(s *state) string {
	from := *s
	from.runs = [maxRuns]run{}
	from.top, from.wrong = record{}, fine
	from.downs, from.losses, from.lapses, from.restarts, from.kills, from.lates = 0, 0, 0, 0, 0, 0
	from.inst.late = 0
	for dc := range from.places {
		from.places[dc].down = false
	}
	from.canonical()
	if _, ok := r.known[from]; ok {
		return ""
	}
	r.known[from] = struct{}{}
	if r.m.home == outside && r.m.start.losses > 0 {
		return "" // what it has seen may be written nowhere
	}
	for target := uint8(1); target <= r.m.places; target++ {
		if why := r.activate(from, target, 0); why != "" {
			return "activate " + names[target] + " " + why
		}
		for dc := uint8(1); dc <= r.m.places; dc++ {
			if dc == target || from.vouch&^maskOf(dc) != 0 || r.m.home == outside {
				continue // of what an instance outside remembers there may be no report
			}
			without := from
			without.places[dc-1].down = true
			if without.inst.conn == dc {
				without.inst.conn = 0
			}
			if why := r.activate(without, target, maskOf(dc)); why != "" {
				return "activate " + names[target] + " --force without " + names[dc] + " " + why
			}
		}
	}
	return ""
}

// activate runs the command in s, in which everything else that can be done is done.
func (r *recovery) activate(s state, target uint8, force mask) (why string) {
	s.runs[0] = run{phase: reading, target: target, force: force}
	for range 100 {
		r.settle(&s)
		if phase := s.runs[0].phase; phase == failed || phase == done {
			break
		}
		next := s
		r.m.runSteps(&s, 0, func(_ string, t state) { next = t })
		if next == s {
			return "waits for ever"
		}
		s = next
	}
	switch {
	case s.runs[0].phase != done:
		return "fails"
	case force.has(r.m.home):
	case s.inst.conn != target:
		return "succeeds, and the instance does not connect"
	}
	return ""
}

// settle has the instance do all that it can.
func (r *recovery) settle(s *state) {
	for changed := true; changed; {
		changed = false
		r.m.instanceSteps(s, func(_ string, t state) {
			before, after := *s, t
			before.canonical()
			if after.canonical(); !changed && after.inst != before.inst {
				changed = true
				s.inst = after.inst
			}
		})
	}
}
