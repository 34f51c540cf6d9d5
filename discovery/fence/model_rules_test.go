package fence

import "testing"

// The searches below visit every state, breadth first, of one label in the entry of
// one process, in every order of what may happen: it starts, at any time; it stands still for as long
// as it likes (so a stop is no step of its own but where time must not pass before all is
// done); its writes are made late, lost, made but not answered, refused, repeated; its reads are
// lost, or answered late; its long polls may know of an election before or after them; the
// label's goroutine may be late between what it decides and what it does; await-fence's
// deletions may be late. One process is enough: instances share nothing but the
// list, and await-fence returns by one look at all of it, so that what it waits for on
// behalf of one is no help to another. Bounds: one lapse, one kill with one
// restart, one repeated write, two writes on their way, not all of them at once.

// raced: with the race detector the long searches take minutes. They have one
// goroutine, in which it can find nothing.
var raced bool

func skipRaced(t *testing.T) {
	if raced {
		t.Skip("with the race detector this takes minutes, and it can find nothing")
	}
}

// newModel is a model in which A has been elected and no process runs yet. One
// write is on its way at a time, and nobody lapses or is killed: what a search
// covers beyond that it says.
func newModel() *model {
	m := &model{procs: 1, writes: 1, others: true}
	m.start = state{now: modelNow, elected: electedA}
	for i := range m.start.procs {
		m.start.procs[i].beat.TTL = modelTTL
	}
	return m
}

// TestPromiseHoldsInEveryState: once await-fence has returned 0, no client can
// get an answer from an earlier master.
func TestPromiseHoldsInEveryState(t *testing.T) {
	skipRaced(t)
	for name, change := range map[string]func(*model){
		"two writes on their way":           func(m *model) { m.writes = 2 },
		"a write repeated by the client":    func(m *model) { m.start.repeats = 1 },
		"a lapse":                           func(m *model) { m.start.lapses = 1 },
		"a process killed, or ended":        func(m *model) { m.start.kills = 1 },
		"the lock free between the masters": func(m *model) { m.loss = true },
		"an entry that has no other labels": func(m *model) { m.others = false },
	} {
		t.Run(name, func(t *testing.T) {
			m := newModel()
			change(m)
			x := &search{m: m, most: 2e6}
			at, complete := x.run(m.violation)
			if at >= 0 {
				t.Fatalf("got an answer of the old master:\n%s", x.trace(at))
			}
			if !complete {
				t.Fatalf("got more than %d states", x.most)
			}
			t.Logf("%d states", len(x.known))
		})
	}
}

// mostWait is how long await-fence may take in ticks while Consul answers it: a
// label that cannot be read leaves after a lease; the write that says so may go
// unanswered, and the one before it be late until the entry is nearly dead; then
// that goes unchanged for the TTL.
const mostWait = 25

// TestAwaitFenceReturnsInTime: in every state, as long as Consul answers it.
func TestAwaitFenceReturnsInTime(t *testing.T) {
	skipRaced(t)
	m := newModel()
	bounded(m)
	m.start.stops, m.stay = 1, true
	x := &search{m: m, most: 2e6}
	at, complete := x.run(func(s *state) bool { return s.waited > mostWait })
	if at >= 0 {
		t.Fatalf("got await-fence still waiting:\n%s", x.trace(at))
	}
	if !complete {
		t.Fatalf("got more than %d states", x.most)
	}
	t.Logf("%d states; await-fence took %d ticks at most, with a TTL of %d", len(x.known), x.longest, modelTTL/modelTick)
}

func bounded(m *model) { m.urgent = true }

// TestEachRuleIsNeeded: without it there is a way to an answer of the old master,
// or await-fence waits for ever. The trace says which.
func TestEachRuleIsNeeded(t *testing.T) {
	lapse := func(m *model) { m.start.lapses = 1 }
	kill := func(m *model) { m.start.kills = 1 }
	for _, tt := range []struct {
		rule    string
		without without
		change  func(*model)
	}{
		{"1: a key of its own for each life", without{random: true}, lapse},
		{"2: the lease is looked at", without{lease: true}, nil},
		{"2: it counts from the begin of the write", without{begin: true}, nil},
		{"2: it counts from the older one: the write", without{olderWrite: true}, nil},
		{"2: it counts from the older one: the read", without{olderRead: true}, bounded},
		{"2: a fifth less than the TTL", without{fifth: true}, nil},
		{"3: a lapse cuts", without{cut: true}, lapse},
		{"3 and 6: a late answer gives nothing, and a deletion compares", without{late: true, cas: true}, nil},
		{"4: a read that began after the report stood", without{after: true}, nil},
		{"5: obeyed is written after the cut", without{order: true}, nil},
		{"5: the cut waits for nothing", without{once: true}, bounded},
		{"5: obeyed rises where the master stays", without{same: true}, bounded},
		{"6: the list is consistent", without{consistent: true}, nil},
		{"6: the election is consistent", without{election: true}, nil},
		{"6: the list is complete", without{complete: true}, nil},
		{"6: who changes is alive", without{change: true}, nil},
		{"6: the TTL and 2 %", without{patience: true}, nil},
		{"7: a killed process delivers nothing", without{linger: true}, kill},
		{"labels leave before an entry is taken away", without{left: true}, lapse},
		{"a label leaves after its cut", without{leave: true}, nil},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			t.Parallel()
			m := newModel()
			m.without = tt.without
			bad := m.violation
			if tt.change != nil {
				tt.change(m)
			}
			if m.urgent {
				skipRaced(t)
				bad = func(s *state) bool { return s.waited > mostWait }
			}
			x := &search{m: m, most: 2e6}
			at, _ := x.run(bad)
			if at < 0 {
				t.Fatalf("got no way to break the promise in %d states; want one", len(x.known))
			}
			t.Logf("%d states\n%s", len(x.known), x.trace(at))
		})
	}
}
