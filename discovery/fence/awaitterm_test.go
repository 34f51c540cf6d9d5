package fence

import (
	"strings"
	"testing"
	"time"
)

// TestTermIsAwaitedOfEveryLabelOfSeveralDataCentres, whatever it has obeyed.
func TestTermIsAwaitedOfEveryLabelOfSeveralDataCentres(t *testing.T) {
	report := func(labels map[string]State) Found {
		return Found{Key: "p1", Modify: 1, Value: Entry{Instance: "p1", TTL: 5, Labels: labels}.Encode()}
	}
	for name, c := range map[string]struct {
		labels map[string]State
		behind string // empty: it is not
	}{
		"no label":                {nil, ""},
		"one data centre":         {map[string]State{"a": {Obeyed: 9}}, ""},
		"all have seen it":        {map[string]State{"a": {Term: 5}, "b": {Term: 6, Elsewhere: true}, "c": {}}, ""},
		"one has not":             {map[string]State{"a": {Term: 5}, "b": {Term: 4}}, "has not seen term 5: b (term 4)"},
		"one elsewhere has not":   {map[string]State{"a": {Term: 2, Elsewhere: true, Obeyed: 99}}, "has not seen term 5: a (term 2)"},
		"and two, in their order": {map[string]State{"b": {Term: 4}, "a": {Term: 3}}, "a (term 3), b (term 4)"},
	} {
		a := Await{Term: 5}
		behind, dead := a.Look(0, []Found{report(c.labels)})
		if (len(behind) > 0) != (c.behind != "") || len(dead) > 0 || len(behind) > 0 && !strings.Contains(behind[0].Why, c.behind) {
			t.Errorf("%s: got %+v, dead %+v; want %q behind", name, behind, dead, c.behind)
		}
		if _, dead := a.Look(5101*time.Millisecond, []Found{report(c.labels)}); (len(dead) > 0) != (c.behind != "") {
			t.Errorf("%s: after its TTL and 2 %%: got dead %+v", name, dead)
		}
	}
	a := Await{Term: 5}
	a.Look(0, []Found{report(map[string]State{"a": {Term: 7}, "b": {}, "c": {Term: 6}})})
	if lowest, highest := a.Terms(); lowest != 6 || highest != 7 {
		t.Errorf("got terms from %d to %d; want 6 to 7", lowest, highest)
	}
	if behind, _ := a.Look(0, []Found{{Key: "x", Value: []byte("nonsense")}}); len(behind) != 1 || behind[0].Dead != 0 {
		t.Errorf("got %+v; want one behind that is never dead", behind)
	}
}
