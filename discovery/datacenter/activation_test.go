package datacenter

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// has is what was found of an entry.
func has(active string, term uint64, without ...string) Found {
	return Found{Modify: term, Entry: Entry{Active: active, Term: term, Without: without}, Lowest: term, Highest: term}
}

var down = Found{Unread: "status 500"}

// stepsOf are the steps to activate dc2, as words.
func stepsOf(t *testing.T, force bool, found map[string]Found) (steps []string, err error) {
	t.Helper()
	a := Activation{Datacenters: []string{"dc1", "dc2", "dc3"}, Target: "dc2", Force: force}
	if len(found) == 2 {
		a.Datacenters = a.Datacenters[:2]
	}
	if err := a.Plan(found); err != nil {
		return nil, err
	}
	for modify := uint64(1000); ; modify++ {
		s, more := a.Next()
		if !more {
			return steps, nil
		}
		switch s.Kind {
		case Write:
			steps = append(steps, strings.TrimSpace(fmt.Sprintf("%s=%s:%d %s", s.Datacenter, s.Entry.Active, s.Entry.Term, strings.Join(s.Entry.Without, " "))))
			a.Written(modify)
		case Await:
			steps = append(steps, strings.TrimSpace(fmt.Sprintf("await %d %s", s.Term, strings.Join(s.Over, " "))))
			if err := a.Awaited(s.Term); err != nil {
				t.Fatal(err)
			}
		case Confirm:
			if err := a.Confirmed(a.modify); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestStepsOfAnActivation(t *testing.T) {
	for name, c := range map[string]struct {
		force bool
		found map[string]Found
		want  string
	}{
		"the first":                       {false, map[string]Found{"dc1": {}, "dc2": {}}, "dc1=:2; dc2=:2; await 2; dc2=dc2:3; dc1=dc2:3"},
		"another":                         {false, map[string]Found{"dc1": has("dc1", 3), "dc2": has("dc1", 3)}, "dc1=:5; dc2=:5; await 5; dc2=dc2:6; dc1=dc2:6"},
		"the lowest term first":           {false, map[string]Found{"dc1": has("", 5), "dc2": has("dc1", 3)}, "dc2=:7; dc1=:7; await 7; dc2=dc2:8; dc1=dc2:8"},
		"already":                         {false, map[string]Found{"dc1": has("dc2", 6), "dc2": has("dc2", 6)}, "await 6"},
		"killed at its last step":         {false, map[string]Found{"dc1": has("", 5), "dc2": has("dc2", 6)}, "dc1=dc2:6; await 6"},
		"two of one term":                 {false, map[string]Found{"dc1": has("dc1", 6), "dc2": has("dc2", 6)}, "dc1=:8; dc2=:8; await 8; dc2=dc2:9; dc1=dc2:9"},
		"two, of which the target is one": {false, map[string]Found{"dc1": has("dc2", 6), "dc2": has("dc1", 6)}, "dc1=:8; dc2=:8; await 8; dc2=dc2:9; dc1=dc2:9"},
		"two of one term, and a newer":    {false, map[string]Found{"dc1": has("dc1", 3), "dc2": has("dc3", 3), "dc3": has("dc2", 6)}, "dc1=dc2:6; dc2=dc2:6; await 6"},
		"a report of a higher term":       {false, map[string]Found{"dc1": has("dc2", 6), "dc2": {Modify: 6, Entry: Entry{Active: "dc2", Term: 6}, Highest: 9}}, "dc1=:11; dc2=:11; await 11; dc2=dc2:12; dc1=dc2:12"},
		"one garbled":                     {false, map[string]Found{"dc1": {Modify: 8, Garbled: "nonsense"}, "dc2": has("dc1", 3)}, "dc1=:5; dc2=:5; await 5; dc2=dc2:6; dc1=dc2:6"},
		"by force":                        {true, map[string]Found{"dc1": down, "dc2": has("dc1", 3)}, "dc2=:5 dc1; await 5 dc1; dc2=dc2:6 dc1"},
		"by force again":                  {true, map[string]Found{"dc1": down, "dc2": has("dc2", 6, "dc1")}, "await 6"},
		"without it again":                {false, map[string]Found{"dc1": down, "dc2": has("dc2", 6, "dc1")}, "await 6"},
		"by force, with no entry known":   {true, map[string]Found{"dc1": down, "dc2": {}}, "dc2=:1048578 dc1; await 1048578 dc1; dc2=dc2:1048579 dc1"},
		"the passive one is forced":       {true, map[string]Found{"dc1": down, "dc2": has("dc2", 6)}, "dc2=dc2:9 dc1; await 9"},
		"the forced one is back":          {false, map[string]Found{"dc1": has("dc1", 3), "dc2": has("dc2", 6, "dc1")}, "dc1=dc2:6 dc1; dc2=dc2:7; dc1=dc2:7; await 7"},
		"back, and another is activated":  {false, map[string]Found{"dc1": has("dc1", 6, "dc2"), "dc2": has("dc2", 3)}, "dc2=:8 dc2; dc1=:8 dc2; await 8; dc2=dc2:9; dc1=dc2:9"},
		"one of three is forced":          {true, map[string]Found{"dc1": down, "dc2": has("dc1", 3), "dc3": has("dc1", 3)}, "dc2=:5 dc1; dc3=:5 dc1; await 5 dc1; dc2=dc2:6 dc1; dc3=dc2:6 dc1"},
		"a report behind is forced":       {true, map[string]Found{"dc1": {Modify: 5, Entry: Entry{Term: 5}, Lowest: 3, Highest: 5}, "dc2": has("", 5)}, "dc1=:7; dc2=:7; await 7; dc2=dc2:8; dc1=dc2:8"},
	} {
		steps, err := stepsOf(t, c.force, c.found)
		if got := strings.Join(steps, "; "); err != nil || got != c.want {
			t.Errorf("%s: got %s, %v; want %s", name, got, err, c.want)
		}
	}
}

func TestActivationIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		force bool
		found map[string]Found
		want  string
	}{
		"one cannot be read":     {false, map[string]Found{"dc1": down, "dc2": has("dc1", 3)}, "data centre dc1 (status 500) cannot be read; nothing was written"},
		"another than before":    {false, map[string]Found{"dc1": has("dc2", 6, "dc1"), "dc2": has("dc2", 6, "dc1"), "dc3": down}, "dc3 (status 500)"},
		"force without a reason": {true, map[string]Found{"dc1": has("dc1", 3), "dc2": has("dc1", 3)}, "--force is not needed"},
		"the target":             {true, map[string]Found{"dc1": has("dc1", 3), "dc2": down}, "dc2, which is to be the active one, cannot be read"},
		"a term without end":     {false, map[string]Found{"dc1": has("dc1", MaxTerm), "dc2": has("dc1", 3)}, "so high that nobody"},
	} {
		steps, err := stepsOf(t, c.force, c.found)
		if _, ok := errors.AsType[*Refused](err); !ok || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, %v; want it refused with %q", name, steps, err, c.want)
		}
	}
}

// TestActivationEndsWhenSomebodyElseIsAtWork: exit code 0 must be true.
func TestActivationEndsWhenSomebodyElseIsAtWork(t *testing.T) {
	a := Activation{Datacenters: []string{"dc1", "dc2"}, Target: "dc2"}
	if err := a.Plan(map[string]Found{"dc1": has("", 5), "dc2": has("dc2", 6)}); err != nil {
		t.Fatal(err)
	}
	if s, _ := a.Next(); s.CAS != 5 {
		t.Errorf("got compare-and-set on %d; want 5, which was read", s.CAS)
	}
	a.Written(20)
	if err := a.Awaited(7); err == nil || !strings.Contains(err.Error(), "has seen the term 7, above 6") {
		t.Errorf("a report of a higher term: got %v", err)
	}
	if err := a.Awaited(6); err != nil {
		t.Fatal(err)
	}
	for _, m := range []map[string]uint64{{"dc1": 20, "dc2": 7}, {"dc1": 21, "dc2": 6}, {"dc2": 6}} {
		if err := a.Confirmed(m); err == nil || !strings.Contains(err.Error(), "another activation is under way") {
			t.Errorf("%v: got %v; want that an entry was changed", m, err)
		}
	}
	if err := a.Confirmed(map[string]uint64{"dc1": 20, "dc2": 6}); err != nil {
		t.Error(err)
	}
	if s, more := a.Next(); more {
		t.Errorf("got %+v; want it done", s)
	}
}

// TestForcingAnotherThanBeforeIsWarnedOf as long as an entry says who was forced.
func TestForcingAnotherThanBeforeIsWarnedOf(t *testing.T) {
	for name, c := range map[string]struct {
		found map[string]Found
		want  string
	}{
		"nobody before": {map[string]Found{"dc1": down, "dc2": has("dc1", 3)}, "[]"},
		"the same":      {map[string]Found{"dc1": down, "dc2": has("dc2", 6, "dc1"), "dc3": has("dc2", 6, "dc1")}, "[]"},
		"another":       {map[string]Found{"dc1": down, "dc2": has("dc2", 6, "dc3"), "dc3": has("dc2", 6, "dc3")}, "[dc3]"},
		"by an older":   {map[string]Found{"dc1": down, "dc2": has("dc2", 7), "dc3": has("dc2", 6, "dc3")}, "[dc3]"},
	} {
		a := Activation{Datacenters: []string{"dc1", "dc2", "dc3"}, Target: "dc2", Force: true}
		if len(c.found) == 2 {
			a.Datacenters = a.Datacenters[:2]
		}
		if err := a.Plan(c.found); err != nil || fmt.Sprint(a.Unsettled()) != c.want {
			t.Errorf("%s: got %v, %v; want %s", name, a.Unsettled(), err, c.want)
		}
	}
}
