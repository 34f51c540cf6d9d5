package datacenter

import (
	"fmt"
	"testing"
)

// The searches below visit every state, breadth first, in every order of what may happen to
// one instance, wherever it is at home, and to two or three runs of the command: each step
// of each may come at any time, or never, which is as good as a kill. One instance is
// enough: with an entry written that names a data centre, none may be connected to
// another by an older one, and of two that are connected to different data centres one
// would be.

// raced: with the race detector the long searches take minutes. They have one
// goroutine each, in which it can find nothing.
var raced bool

func skipRaced(t *testing.T) {
	if raced {
		t.Skip("with the race detector this takes minutes, and it can find nothing")
	}
}

// newModel is a model in which dc1 is the active data centre, by all entries, and in which nothing fails.
func newModel(places, home uint8) *model {
	m := &model{places: places, runs: 2, home: home}
	for i := range m.places {
		m.start.places[i].entry = record{term: modelStart, active: 1}
	}
	m.start.top = m.start.places[0].entry
	return m
}

// What a search covers beyond that.
var (
	lapse   = func(m *model) { m.start.lapses = 1 }
	restart = func(m *model) { m.start.restarts = 1 }
	late    = func(m *model) { m.start.lates = 1 }
	loss    = func(m *model) { m.start.losses = 1 }
	failure = func(m *model) { m.start.downs, m.start.kills = 1, 1 }
	// Terms begin anew below what the instance remembers.
	allLost = func(m *model) {
		m.start.losses, m.between = 2, true
		for i := range m.places {
			m.start.places[i].entry.term = 9
		}
		m.start.top = m.start.places[0].entry
	}
	// The command alone: three runs, and each data centre fails once.
	alone = func(m *model) {
		m.runs, m.alone = 3, true
		m.start.downs, m.start.kills = 2, 1
	}
)

// mostStates bounds a search: one that has more fails.
const mostStates = 1e6

// TestPromiseHoldsInEveryState: nobody is connected to another data centre than the
// active one, no return of a data centre undoes an activation, and no two entries of one
// term differ. From every state an activation succeeds once all data centres are there, and by
// force without one, and the instance connects then.
func TestPromiseHoldsInEveryState(t *testing.T) {
	skipRaced(t)
	for name, changes := range map[string][]func(*model){
		"a lapse":                                       {lapse},
		"an instance killed and started":                {restart},
		"an answer that is late":                        {late},
		"an entry deleted":                              {loss},
		"all entries deleted":                           {allLost},
		"a data centre fails and returns":               {failure},
		"a data centre fails, and an instance restarts": {failure, restart},
	} {
		for _, home := range []uint8{1, 2, outside} {
			t.Run(fmt.Sprintf("%s, at home in %q", name, names[home]), func(t *testing.T) {
				t.Parallel()
				holds(t, newModel(2, home), changes...)
			})
		}
	}
	t.Run("three runs and two failures", func(t *testing.T) { t.Parallel(); holds(t, newModel(2, 1), alone) })
	t.Run("three data centres", func(t *testing.T) { t.Parallel(); holds(t, newModel(3, 1)) })
}

func holds(t *testing.T, m *model, changes ...func(*model)) {
	t.Helper()
	for _, change := range changes {
		change(m)
	}
	x := &search{m: m, most: mostStates}
	r := newRecovery(m)
	at, why, complete := x.run(func(s *state) string {
		if why := m.violation(s); why != "" || m.alone || m.start.lates > 0 {
			return why
		}
		return r.fails(s)
	})
	if at >= 0 {
		t.Fatalf("got: %s\n%s", why, x.trace(at))
	}
	if !complete {
		t.Fatalf("got more than %d states", x.most)
	}
	t.Logf("%d states, activated from %d of them", len(x.known), len(r.known))
}

// TestEachRuleIsNeeded: without it there is a way to break the promise, or an activation
// does not succeed. The trace says which.
func TestEachRuleIsNeeded(t *testing.T) {
	for _, tt := range []struct {
		rule    string
		without without
		home    uint8
		changes []func(*model)
	}{
		{"instance 1: the highest term counts", without{forgets: true}, 1, nil},
		{"instance 2: the own report", without{ownReport: true}, 1, nil},
		{"instance 2: every entry is read", without{clears: true}, 1, []func(*model){failure}},
		{"instance 2: not only the nearest ones", without{onlyNear: true}, 1, []func(*model){failure}},
		{"instance 2: by reads that began after the report stood", without{afterOwn: true}, 1, []func(*model){failure, late}},
		{"instance 2: but for those that it was written without", without{noWithout: true}, 1, nil},
		{"instance 2: again after a lapse", without{lapseKeeps: true}, 1, []func(*model){failure}},
		{"instance 3: the report where it serves, of one outside", without{servingReport: true}, outside, nil},
		{"instance 3: and the reads after that", without{outsideOwn: true}, outside, []func(*model){failure}},
		{"instance 6: the term is reported after the cut", without{order: true}, 1, nil},
		{"instance 6: nobody active is another one", without{ignoresNobody: true}, 1, nil},
		{"instance 7: terms in reports are from 1 on", without{joinsEarly: true}, 1, nil},
		{"activation 1: terms in reports count", without{entriesOnly: true}, 1, []func(*model){allLost}},
		{"activation 1: what cannot be read ends it", without{skipsUnread: true}, 1, nil},
		{"activation 2: nobody first", without{noNobody: true}, 1, nil},
		{"activation 2: compare-and-set", without{noCAS: true}, 1, nil},
		{"activation 2: a term of 2 more", without{aboveOne: true}, 1, nil},
		{"activation 2: the lowest terms first", without{highestFirst: true}, 1, []func(*model){alone}},
		{"activation 3: reports are waited for", without{noAwait: true}, 1, nil},
		{"activation 3: in every data centre", without{awaitsTarget: true}, 1, nil},
		{"activation 3: none has a higher term", without{ignoresHigher: true}, 2, []func(*model){allLost}},
		{"activation 4: leases are waited for", without{noOver: true}, 1, []func(*model){failure}},
		{"activation 5: the entry says who was forced", without{noWithoutSaid: true}, 1, nil},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			t.Parallel()
			if tt.changes != nil {
				skipRaced(t)
			}
			m := newModel(2, tt.home)
			m.without = tt.without
			for _, change := range tt.changes {
				change(m)
			}
			bad := m.violation
			if m.noWithout || m.noWithoutSaid || m.entriesOnly {
				bad = newRecovery(m).fails // it breaks nothing, and gets nowhere
			}
			x := &search{m: m, most: mostStates}
			at, why, _ := x.run(bad)
			if at < 0 {
				t.Fatalf("got no way to break the promise in %d states; want one", len(x.known))
			}
			t.Logf("%d states: %s\n%s", len(x.known), why, x.trace(at))
		})
	}
}
