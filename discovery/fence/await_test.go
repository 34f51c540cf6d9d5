package fence

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// reportOf is an entry of a list: the label L has obeyed an index.
func reportOf(key string, modify, obeyed uint64) Found {
	return Found{Key: key, Modify: modify, Value: Entry{Instance: key, PID: 3, TTL: ttl.Seconds(), Labels: map[string]State{"L": {Obeyed: obeyed}}}.Encode()}
}

func keysOf(list []Behind) (keys string) {
	for _, b := range list {
		keys += b.Key + " "
	}
	return strings.TrimSpace(keys)
}

func TestAwaitWaitsForEachReportThatHasTheLabel(t *testing.T) {
	a := Await{Label: "L", Index: 10}
	if behind, dead := a.Look(0, nil); len(behind)+len(dead) != 0 {
		t.Errorf("without reports: got %v behind, %v dead; want nobody to wait for", behind, dead)
	}
	other := Found{Key: "other", Modify: 1, Value: Entry{TTL: 10, Labels: map[string]State{"M": {}}}.Encode()}
	behind, dead := a.Look(0, []Found{reportOf("b", 5, 9), other, reportOf("obeyed", 6, 10), reportOf("later", 7, 99), reportOf("a", 8, 0)})
	if keysOf(behind) != "a b" || len(dead) != 0 {
		t.Errorf("got %v behind, %v dead; want a and b, and nobody dead", behind, dead)
	}
	if b := behind[1]; b.Instance != "b" || b.PID != 3 || b.Obeyed != 9 || !strings.Contains(b.Why, "9") {
		t.Errorf("got %+v; want whose it is and how far it is", b)
	}
	if behind, _ = a.Look(time.Second, []Found{reportOf("b", 9, 10)}); len(behind) != 0 {
		t.Errorf("got %v behind; want all to have obeyed, or to be gone", behind)
	}
}

// TestReportOfWhoServesElsewhereIsNotWaitedFor: what it has obeyed is an index of another Consul.
func TestReportOfWhoServesElsewhereIsNotWaitedFor(t *testing.T) {
	a := Await{Label: "L", Index: 10}
	elsewhere := Found{Key: "a", Modify: 1, Value: Entry{TTL: 10, Labels: map[string]State{"L": {Obeyed: 3, Term: 5, Elsewhere: true}}}.Encode()}
	if behind, _ := a.Look(0, []Found{elsewhere}); len(behind) != 0 || a.Reports() != 1 {
		t.Errorf("got %v behind of %d; want nobody of one", behind, a.Reports())
	}
}

func TestReportIsDeadWhenItHasNotChangedForItsTTLAndTwoPercent(t *testing.T) {
	a := Await{Label: "L", Index: 10}
	after := DeadAfter(ttl)
	if after != 10200*time.Millisecond {
		t.Fatalf("got %v; want a TTL of 10 s and 2 %%", after)
	}
	began := time.Hour
	a.Look(began, []Found{reportOf("a", 5, 9)})
	if _, dead := a.Look(began+after-1, []Found{reportOf("a", 5, 9)}); len(dead) != 0 {
		t.Errorf("a moment before: got %v dead; want nobody", dead)
	}
	if _, dead := a.Look(began+after, []Found{reportOf("a", 5, 9)}); keysOf(dead) != "a" || dead[0].Modify != 5 {
		t.Errorf("got %v dead; want a, as it was at index 5", dead)
	}
	if _, dead := a.Look(began+2*after, []Found{reportOf("a", 6, 9)}); len(dead) != 0 {
		t.Errorf("it has changed: got %v dead; want nobody", dead)
	}
	a.Look(began+3*after, nil)
	if _, dead := a.Look(began+9*after, []Found{reportOf("a", 6, 9)}); len(dead) != 0 {
		t.Errorf("it was gone in between: got %v dead; want nobody", dead)
	}
}

func TestWhatIsNoReportIsWaitedForAndNeverDead(t *testing.T) {
	a := Await{Label: "L", Index: 10}
	list := []Found{{Key: "odd", Modify: 1, Value: []byte("nonsense")}}
	a.Look(0, list)
	behind, dead := a.Look(1000*time.Hour, list)
	if keysOf(behind) != "odd" || len(dead) != 0 || behind[0].Dead != 0 {
		t.Errorf("got %v behind, %v dead; want it waited for", behind, dead)
	}
}

func TestEntriesAreUnderstood(t *testing.T) {
	e := Entry{Instance: "p1", PID: 1, Boot: "b", TTL: 20, Beat: 17, Labels: map[string]State{"L": {Obeyed: 123, Master: "10.0.0.1:5432"}}}
	if got, err := Parse(e.Encode()); err != nil || fmt.Sprint(got) != fmt.Sprint(e) {
		t.Errorf("got %+v, %v; want %+v", got, err, e)
	}
	for value, want := range map[string]string{
		"":                          "JSON",
		"[]":                        "JSON",
		"null":                      "ttl_s",
		`{}`:                        "ttl_s",
		`{"ttl_s":4.9}`:             "ttl_s",
		`{"ttl_s":3601}`:            "ttl_s",
		`{"ttl_s":1e300}`:           "ttl_s",
		`{"ttl_s":-20}`:             "ttl_s",
		`{"ttl_s":"20"}`:            "JSON",
		`{"ttl_s":20,"labels":[]}`:  "JSON",
		`{"ttl_s":20,"pid":"1"}`:    "JSON",
		strings.Repeat("x", 600000): "KiB",
	} {
		if _, err := Parse([]byte(value)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.30q: got %v; want an error with %q", value, err, want)
		}
	}
	for _, value := range []string{`{"ttl_s":5}`, `{"ttl_s":3600}`, `{"ttl_s":20,"labels":null}`, `{"ttl_s":20,"later":1}`} {
		if _, err := Parse([]byte(value)); err != nil {
			t.Errorf("%s: got %v; want it understood", value, err)
		}
	}
	if got := Key("rosproxy/fence/", "p1", 7, "r"); got != "rosproxy/fence/p1-7-r" {
		t.Errorf("got key %s; want rosproxy/fence/p1-7-r", got)
	}
}

// TestEntryThatIsTooLongIsKeptWithoutMasters: Consul refuses a value of more than 512 KiB.
func TestEntryThatIsTooLongIsKeptWithoutMasters(t *testing.T) {
	e := Entry{Instance: "p1", TTL: 20, Labels: map[string]State{}}
	for i := range 4096 {
		e.Labels[fmt.Sprintf("%050d", i)] = State{Obeyed: uint64(i), Term: 3, Master: "[2001:db8:1234:5678:1234:5678:1234:5678]:65432", Elsewhere: true}
	}
	got, err := Parse(e.Encode())
	if err != nil {
		t.Fatal(err)
	}
	for label, s := range e.Labels {
		if s.Master = ""; got.Labels[label] != s {
			t.Fatalf("got %+v; want %+v", got.Labels[label], s)
		}
	}
	if e.Labels[fmt.Sprintf("%050d", 1)].Master == "" {
		t.Error("the entry itself has lost its masters")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"instance":"a","pid":1,"ttl_s":20,"beat":17,"labels":{"L":{"obeyed":123,"term":0,"master":"h:1"}}}`))
	f.Add([]byte(`{"ttl_s":1e999}`))
	f.Add([]byte(`[[[`))
	f.Fuzz(func(t *testing.T, value []byte) {
		e, err := Parse(value)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Fatalf("got an error with control characters: %q", err)
			}
			return
		}
		if ttl := e.Expires(); ttl < MinTTL || ttl > MaxTTL {
			t.Fatalf("got a TTL of %v", ttl)
		}
		if _, err := Parse(e.Encode()); err != nil {
			t.Fatalf("got %v of what was understood", err)
		}
	})
}

// FuzzAwait lets reports come, change, obey and go, and checks that nobody who is
// behind and has changed lately is passed over.
func FuzzAwait(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 40, 5, 6, 70, 8, 9, 110, 11, 12})
	f.Add([]byte{1, 1, 1, 200, 1, 200, 0, 3, 3, 3, 250, 250})
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 256 {
			return
		}
		type report struct {
			modify, obeyed uint64
			changed        time.Duration
			there          bool
		}
		a, reports, now, modify := Await{Label: "L", Index: 10}, [3]report{}, time.Duration(0), uint64(0)
		for _, b := range in {
			r := &reports[b%3]
			switch b / 3 % 4 {
			case 0:
				modify++
				*r = report{modify: modify, obeyed: uint64(b) % 20, changed: now, there: true}
			case 1:
				r.there = false
			default:
				now += time.Duration(b) * 50 * time.Millisecond
			}
			var list []Found
			waits := 0
			for i, r := range reports {
				if r.there {
					list = append(list, reportOf(fmt.Sprint(i), r.modify, r.obeyed))
				}
				if r.there && r.obeyed < a.Index {
					waits++
				}
			}
			behind, dead := a.Look(now, list)
			if len(behind) != waits {
				t.Fatalf("got %v behind; want the %d of %+v", behind, waits, reports)
			}
			for _, d := range dead {
				if r := reports[d.Key[0]-'0']; now-r.changed < DeadAfter(ttl) || d.Modify != r.modify {
					t.Fatalf("at %v: got %+v dead; it changed at %v", now, d, r.changed)
				}
			}
		}
	})
}

// TestReportOfManyLabelsIsSaidToBeBehindInALine: it may have thousands, and a terminal is not as long.
func TestReportOfManyLabelsIsSaidToBeBehindInALine(t *testing.T) {
	labels := map[string]State{}
	for i := range 107 {
		labels[fmt.Sprintf("l%03d", i)] = State{Term: 3}
	}
	labels["l000"] = State{Term: 5}
	w := Await{Term: 5}
	behind, _ := w.Look(0, []Found{{Key: "p/a", Modify: 1, Value: Entry{Instance: "a", TTL: 5, Labels: labels}.Encode()}})
	const want = "has not seen term 5: l001 (term 3), l002 (term 3), l003 (term 3), l004 (term 3), l005 (term 3), and 101 labels more"
	if len(behind) != 1 || behind[0].Why != want {
		t.Errorf("got %+v; want %s", behind, want)
	}
	if lowest, highest := w.Terms(); lowest != 3 || highest != 5 {
		t.Errorf("got the terms %d and %d; want 3 and 5", lowest, highest)
	}
}
