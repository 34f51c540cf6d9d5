package run

import (
	"fmt"
	"testing"
)

func TestSameSeedGivesTheSamePlan(t *testing.T) {
	one, same, other := Planner{7, Kinds()}, Planner{7, Kinds()}, Planner{8, Kinds()}
	differ := 0
	for n := range 200 {
		if got, want := fmt.Sprint(same.Plan(n)), fmt.Sprint(one.Plan(n)); got != want {
			t.Errorf("round %d: got %s; want %s", n, got, want)
		}
		if fmt.Sprint(one.Plan(n)) != fmt.Sprint(other.Plan(n)) {
			differ++
		}
	}
	if differ < 190 {
		t.Errorf("plans of another seed that differ: got %d of 200; want nearly all", differ)
	}
}

func TestEachKindComesOnceInEachCycle(t *testing.T) {
	p := Planner{3, Kinds()}
	for cycle := range 3 {
		seen := map[string]bool{}
		for n := range p.kinds {
			seen[p.Plan(cycle*len(p.kinds)+n).Kind.Name] = true
		}
		if len(seen) != len(p.kinds) {
			t.Errorf("cycle %d: got %d kinds; want %d", cycle, len(seen), len(p.kinds))
		}
	}
}
