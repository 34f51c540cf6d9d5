package datacenter

import (
	"fmt"
	"slices"
)

// plans are those that runs carry out: a state has their numbers.
type plans struct {
	all     []plan
	known   map[planned]uint16
	numbers map[string]uint16 // by what they are
}

type plan struct {
	steps  []Step
	forced mask
	failed bool
}

// planned is what a plan is made of.
type planned struct {
	target          uint8
	force           mask
	found           [maxPlaces]record
	lowest, highest [maxPlaces]uint32 // terms in the reports
}

// number gives equal plans the same number.
func (p *plans) number(of planned, make func() plan) uint16 {
	n, ok := p.known[of]
	if !ok {
		made := make()
		what := fmt.Sprint(made)
		if n, ok = p.numbers[what]; !ok {
			n = uint16(len(p.all))
			p.numbers[what] = n
			p.all = append(p.all, made)
		}
		p.known[of] = n
	}
	return n
}

// plan has the machine make the steps.
func (m *model) plan(t *state, r *run) {
	of := planned{target: r.target, force: r.force, found: r.found}
	for dc := uint8(1); dc <= m.places; dc++ {
		if !r.force.has(dc) && !m.entriesOnly {
			of.lowest[dc-1], of.highest[dc-1] = m.reports(t, dc)
		}
	}
	r.plan = m.plans.number(of, func() plan { return m.planOf(of) })
	if m.plans.all[r.plan].failed {
		r.end(failed)
		return
	}
	r.phase, r.read = stepping, 0
	m.finish(t, r)
}

func (m *model) planOf(of planned) plan {
	a := Activation{Datacenters: m.names(), Target: names[of.target], Force: of.force > 0}
	found := make(map[string]Found)
	for dc := uint8(1); dc <= m.places; dc++ {
		f := Found{Entry: of.found[dc-1].entry(), Lowest: uint64(of.lowest[dc-1]), Highest: uint64(of.highest[dc-1])}
		if of.force.has(dc) {
			f = Found{Unread: "it is down"}
		}
		found[names[dc]] = f
	}
	if err := a.Plan(found); err != nil {
		return plan{failed: true}
	}
	return plan{steps: m.broken(a.steps, of.target), forced: maskOfNames(a.forced)}
}

// broken are steps without the rules that are left out.
func (m *model) broken(steps []Step, target uint8) (out []Step) {
	nobodies := 0
	for _, s := range steps {
		if isNobody(s) {
			nobodies++
		}
	}
	for _, s := range steps {
		switch {
		case isNobody(s) && m.noNobody, s.Kind == Await && m.noAwait, s.Kind == Confirm && m.noConfirm:
			continue
		case s.Kind == Await && m.awaitsTarget:
			s.Datacenters = []string{names[target]}
		}
		if m.aboveOne && nobodies > 0 {
			s.Entry.Term--
			s.Term = max(s.Term, 1) - 1
		}
		if m.noOver {
			s.Over = nil
		}
		if m.noWithoutSaid {
			s.Entry.Without = nil
		}
		out = append(out, s)
	}
	if m.highestFirst && nobodies > 0 {
		slices.Reverse(out[:nobodies])
	}
	return out
}

func isNobody(s Step) bool { return s.Kind == Write && s.Entry.Active == "" }
