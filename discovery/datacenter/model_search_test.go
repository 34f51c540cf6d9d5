package datacenter

import (
	"fmt"
	"hash/maphash"
	"strings"
)

// search visits every state that may be reached, breadth first, until bad.
type search struct {
	m       *model
	known   map[uint64]struct{}
	parents []parent
	expands []int32 // of parents, in the order in which they are visited
	most    int     // states
}

type parent struct {
	from   int32 // of parents; -1: the start
	choice uint16
}

var seed = maphash.MakeSeed()

// run answers a state in which bad says something, as an index of parents; -1: there is
// none. complete is false when there were more states than most.
func (x *search) run(bad func(*state) string) (found int, why string, complete bool) {
	x.m.plans = plans{known: make(map[planned]uint16), numbers: make(map[string]uint16)}
	x.known = make(map[uint64]struct{})
	start := x.m.start
	start.canonical()
	x.known[maphash.Comparable(seed, start)] = struct{}{}
	x.parents, x.expands = []parent{{from: -1}}, []int32{0}
	level, first := []state{start}, 0
	for len(level) > 0 {
		var next []state
		base := len(x.expands)
		for i := range level {
			choice := uint16(0)
			found = -1
			x.m.successors(&level[i], func(_ string, t state) {
				c := choice
				choice++
				if found >= 0 {
					return
				}
				t.canonical()
				sum := maphash.Comparable(seed, t)
				if _, ok := x.known[sum]; ok {
					return
				}
				x.known[sum] = struct{}{}
				x.parents = append(x.parents, parent{x.expands[first+i], c})
				if why = bad(&t); why != "" {
					found = len(x.parents) - 1
					return
				}
				next = append(next, t)
				x.expands = append(x.expands, int32(len(x.parents)-1))
			})
			if found >= 0 {
				return found, why, true
			}
			if len(x.known) > x.most {
				return -1, "", false
			}
		}
		level, first = next, base
	}
	return -1, "", true
}

// trace is how to come to a state.
func (x *search) trace(at int) string {
	var path []uint16
	for ; x.parents[at].from >= 0; at = int(x.parents[at].from) {
		path = append(path, x.parents[at].choice)
	}
	var out strings.Builder
	s := x.m.start
	s.canonical()
	fmt.Fprintf(&out, "%3d  %-90s %s\n", 0, "", s.brief(int(x.m.places)))
	for i := len(path) - 1; i >= 0; i-- {
		choice, n := path[i], uint16(0)
		var next state
		var what string
		x.m.successors(&s, func(name string, t state) {
			if n == choice {
				next, what = t, name
			}
			n++
		})
		s = next
		s.canonical()
		fmt.Fprintf(&out, "%3d  %-90s %s\n", len(path)-i, what, s.brief(int(x.m.places)))
	}
	return out.String()
}
