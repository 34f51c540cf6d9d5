package discovery

import (
	"errors"
	"slices"
	"testing"
	"time"
)

// world is a cluster with agents in front of it, as FuzzObserve moves them.
type world struct {
	in     []byte
	now    time.Time
	index  uint64
	set    []candidate
	past   []moment // what agents that lag may still say
	agents []uint64 // the index each one's long poll waits on
}

type moment struct {
	index uint64
	set   []candidate
}

func (w *world) next() int {
	if len(w.in) == 0 {
		return 0
	}
	b := w.in[0]
	w.in = w.in[1:]
	return int(b)
}

// write changes the catalog: any subset of three masters.
func (w *world) write(which int) {
	w.index++
	var set []candidate
	for i := range 3 {
		if which>>i&1 == 0 {
			continue
		}
		m := master(i+1, w.index)
		if old := slices.IndexFunc(w.set, func(c candidate) bool { return c.id == m.id }); old >= 0 {
			m = w.set[old]
		}
		set = append(set, m)
	}
	w.set = set
	w.past = append(w.past, moment{w.index, set})
}

// wipe sends the index back, as a restored snapshot does.
func (w *world) wipe(to uint64, which int) {
	w.index = min(w.index, to)
	w.set = nil
	w.write(which)
}

// answer makes up the next answer and reports whether it tells the truth of now.
func (w *world) answer() answer {
	agent, what := w.next()%len(w.agents), w.next()
	took := time.Duration(w.next()) * 10 * time.Millisecond
	w.now = w.now.Add(took + time.Millisecond)
	a := answer{agent: agent, began: w.now.Add(-took), arrived: w.now}
	switch what % 8 {
	case 0:
		a.kind, a.err, a.index = unknown, errors.New("status 500"), uint64(w.next())
		w.agents[agent] = 0
		return a
	case 1:
		a.kind, a.err, a.index = denied, errors.New("denied"), uint64(w.next())
		w.agents[agent] = 0
		return a
	case 2, 3: // a consistent read is linearizable: it says what is so now
		a = read(merge(a, says(agent, w.index, w.set...)))
		a.began = w.now
		return a
	case 4: // a lagging or stuck agent says what was so once
		m := w.past[w.next()%len(w.past)]
		a = merge(a, says(agent, m.index, m.set...))
	case 5: // an empty answer of a streaming agent that has nothing yet
		a = merge(a, says(agent, 1))
	case 6: // a broken server
		a = merge(a, says(agent, uint64(w.next()), w.past[w.next()%len(w.past)].set...))
	default:
		a = merge(a, says(agent, w.index, w.set...))
	}
	a.asked = w.agents[agent]
	w.agents[agent] = nextIndex(a)
	return a
}

func merge(timed, said answer) answer {
	said.began, said.arrived = timed.began, timed.arrived
	return said
}

// FuzzObserve lets a cluster change, lose its past and be misreported, and
// checks that what is ordered always follows from an answer that may count,
// and that truth told by all wins in the end.
func FuzzObserve(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23})
	f.Add([]byte{0, 1, 4, 0, 7, 0, 1, 1, 2, 0, 2, 5, 1, 4, 1, 0, 7, 9, 2, 2, 0, 7, 0, 4, 1, 2, 3, 0, 2, 200})
	f.Add([]byte{3, 0, 4, 1, 7, 0, 4, 0, 7, 0, 1, 2, 9, 4, 1, 2, 0, 4, 0, 2, 0, 4, 1, 7, 200, 4, 0, 4, 3, 1})
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 4096 {
			return
		}
		w := &world{in: in, now: time.Unix(1e9, 0), index: 100, agents: make([]uint64, 1+len(in)%3)}
		w.write(w.next())
		c := Config{OnConflict: ConflictPolicy(w.next() % 2)}.withDefaults()
		o, mirror := newObserver(c, len(w.agents)), newObserver(c, len(w.agents))
		for len(w.in) > 0 {
			switch w.next() % 4 {
			case 0:
				w.write(w.next())
			case 1:
				if w.next()%4 == 0 {
					w.wipe(uint64(w.next()), w.next())
				}
			default:
				step(t, o, mirror, w.answer())
			}
		}
		settle(t, w, o, mirror)
	})
}

// step gives a to both observers, to the second with its candidates reversed.
func step(t *testing.T, o, mirror *observer, a answer) {
	before := *o
	got := o.observe(a)
	b := a
	if a.instances != nil {
		reversed := slices.Clone(allOf(a).candidates)
		slices.Reverse(reversed)
		b.instances = instancesOf(reversed...)
	}
	if again := mirror.observe(b); again != got {
		t.Fatalf("got order %+v, and %+v for the reversed list", got, again)
	}
	if got.do != nothing && a.kind != none && a.kind != found {
		t.Fatalf("acted on an unknown answer: %+v", got)
	}
	if o.filter.started && o.filter.applied < before.filter.applied && !a.consistent {
		t.Fatalf("rolled back from index %d to %d by a long poll", before.filter.applied, o.filter.applied)
	}
	if got.do == setMaster && (a.kind != found || got.master.Address != elect(allOf(a).candidates).winner.addr) {
		t.Fatalf("made %v master; the answer was %+v", got.master, a)
	}
	if (got.do == clearMaster) && !(a.kind == none && a.consistent) {
		t.Fatalf("cleared by an answer that was not confirmed: %+v", a)
	}
	if got.do == cutMaster && o.state != Conflict {
		t.Fatalf("cut without a conflict by %+v", a)
	}
	if got.do == nothing && o.state != before.state {
		t.Fatalf("went from %q to %q and told nobody", before.state, o.state)
	}
}

// settle lets every agent tell the truth for a while, and checks the outcome.
func settle(t *testing.T, w *world, o, mirror *observer) {
	for range 50 {
		for i := range w.agents {
			w.now = w.now.Add(time.Second)
			a := read(says(i, w.index, w.set...))
			a.began, a.arrived = w.now, w.now
			step(t, o, mirror, a)
		}
	}
	want, seen := None, 0
	if len(w.set) > 0 {
		v := elect(w.set)
		want, seen = Found, v.seen
		if v.seen > 1 && o.service.conflict == Refuse {
			want = Conflict
		} else if o.master.Address != v.winner.addr {
			t.Fatalf("ended with master %v; want %v", o.master, v.winner)
		}
	}
	if o.state != want || o.seen != seen {
		t.Fatalf("ended in state %q with %d masters; want %q with %d", o.state, o.seen, want, seen)
	}
}
