package fence

import (
	"fmt"
	"hash/maphash"
	"strings"
	"time"
)

// search visits every state that may be reached, breadth first, until bad.
type search struct {
	m       *model
	known   map[[2]uint64]struct{}
	parents []step
	most    int // states
	longest uint8
	expands []int32 // of parents, in the order in which they are visited
}

type step struct {
	from   int32 // of parents; -1: the start
	choice uint16
}

var seeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}

func (s *state) sum(buf []byte) ([2]uint64, []byte) {
	b := buf[:0]
	flag := func(v ...bool) {
		x := byte(0)
		for i, v := range v {
			if v {
				x |= 1 << i
			}
		}
		b = append(b, x)
	}
	at := func(ts ...time.Duration) {
		for _, t := range ts {
			b = append(b, byte(t/modelTick))
		}
	}
	num := func(ns ...uint64) {
		for _, n := range ns {
			b = append(b, byte(n))
		}
	}
	b = append(b, byte(s.lapses), s.elected, s.kills, s.stops, s.repeats, s.waited)
	b = append(b, s.await.state, s.await.index, s.await.del.proc, s.await.del.gen, byte(s.await.del.life))
	num(s.await.cas)
	for i := range s.entries {
		e := &s.entries[i]
		if !e.there {
			break
		}
		b = append(b, 'e', e.proc, e.gen, byte(e.life), e.obeyed)
		flag(e.has)
		num(e.modify, e.beat, e.seenModify)
		at(e.seenSince)
	}
	for i := range s.writes {
		w := &s.writes[i]
		if !w.there {
			break
		}
		b = append(b, 'w', w.proc, w.gen, byte(w.life), w.obeyed, w.left)
		flag(w.has)
		num(w.beat, w.cas)
	}
	for i := range s.procs {
		p := &s.procs[i]
		b = append(b, 'p', p.up, p.gen)
		flag(p.queued, p.connected, p.fresh, p.news, p.beat.Stands, p.beat.Doubtful)
		if p.up == down || p.up == killed {
			continue
		}
		d := &p.beat
		b = append(b, byte(d.Life), byte(d.Pending.Life), byte(p.label.Life), p.said, p.knows, p.read.election, p.act, p.by)
		num(d.Index, d.Acked, d.Beats, d.Pending.Beat, d.Pending.CAS, d.Pending.Revision, p.rev, p.label.Revision)
		at(d.Begun, d.Pending.Begun, p.label.Stood, p.label.Read, p.read.begun, p.lease)
	}
	return [2]uint64{maphash.Bytes(seeds[0], b), maphash.Bytes(seeds[1], b)}, b
}

// run answers a state in which bad holds, as an index of parents; -1: there is
// none. complete is false when there were more states than most.
func (x *search) run(bad func(*state) bool) (found int, complete bool) {
	x.known = make(map[[2]uint64]struct{})
	var buf []byte
	start := x.m.start
	start.canonical(x.m)
	sum, buf := start.sum(buf)
	x.known[sum] = struct{}{}
	x.parents, x.expands = []step{{from: -1}}, []int32{0}
	level, first := []state{start}, 0
	for len(level) > 0 {
		var next []state
		base := len(x.expands)
		for i := range level {
			choice := uint16(0)
			found = -1
			x.m.successors(&level[i], func(_ string, _ int, t state) {
				c := choice
				choice++
				if found >= 0 || t.lapses < 0 {
					return
				}
				t.canonical(x.m)
				sum, buf = t.sum(buf)
				if _, ok := x.known[sum]; ok {
					return
				}
				x.known[sum] = struct{}{}
				x.parents = append(x.parents, step{x.expands[first+i], c})
				x.longest = max(x.longest, t.waited)
				if bad(&t) {
					found = len(x.parents) - 1
					return
				}
				if !x.m.isOver(&t) {
					next = append(next, t)
					x.expands = append(x.expands, int32(len(x.parents)-1))
				}
			})
			if found >= 0 {
				return found, true
			}
			if len(x.known) > x.most {
				return -1, false
			}
		}
		level, first = next, base
	}
	return -1, true
}

// trace is how to come to a state.
func (x *search) trace(at int) string {
	var path []uint16
	for ; x.parents[at].from >= 0; at = int(x.parents[at].from) {
		path = append(path, x.parents[at].choice)
	}
	var out strings.Builder
	s, clock := x.m.start, 0
	s.canonical(x.m)
	for i := len(path) - 1; i >= 0; i-- {
		choice, n := path[i], uint16(0)
		var next state
		var what string
		x.m.successors(&s, func(name string, who int, t state) {
			if n == choice {
				next, what = t, name
				if who >= 0 {
					what = fmt.Sprintf("instance %d %s", who+1, name)
				}
			}
			n++
		})
		s = next
		s.canonical(x.m)
		if strings.HasPrefix(what, "a tick") {
			if clock++; what == "a tick" {
				continue
			}
		}
		fmt.Fprintf(&out, "%3ds  %-66s %s\n", clock, what, s.brief())
	}
	return out.String()
}

// brief is what a reader of a trace wants to know.
func (s *state) brief() string {
	var out []string
	for i := range s.procs {
		if p := &s.procs[i]; p.connected {
			out = append(out, fmt.Sprintf("%d has connections to A, lease %+ds", i+1, (p.lease-s.now)/modelTick))
		}
	}
	for _, e := range s.entries {
		if e.there {
			o := "without the label"
			if e.has {
				o = fmt.Sprintf("obeyed %d", e.obeyed)
			}
			out = append(out, fmt.Sprintf("entry %d.%d.%d %s", e.proc+1, e.gen, e.life, o))
		}
	}
	return strings.Join(out, "; ")
}
