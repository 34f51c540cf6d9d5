package datacenter

import "testing"

// The searches below visit every state, breadth first, in every order of what may happen
// to one instance, wherever it is at home, and to runs of the command.

// newModel is a model in which dc1 is the active data centre by both entries.
func newModel(home uint8) *model {
	m := &model{places: 2, runs: 2, home: home}
	for i := range m.places {
		m.start.places[i].entry = record{term: modelStart, active: 1}
	}
	m.start.top = m.start.places[0].entry
	return m
}

// TestPromiseHoldsInEveryState: nobody is connected to another data centre than the active one.
func TestPromiseHoldsInEveryState(t *testing.T) {
	for _, home := range []uint8{1, 2, outside} {
		m := newModel(home)
		m.start.downs = 1
		x := &search{m: m, most: 1e6}
		at, why, complete := x.run(m.violation)
		if at >= 0 {
			t.Fatalf("at home in %q: %s\n%s", names[home], why, x.trace(at))
		}
		if !complete {
			t.Fatalf("got more than %d states", x.most)
		}
		t.Logf("at home in %q: %d states", names[home], len(x.known))
	}
}
