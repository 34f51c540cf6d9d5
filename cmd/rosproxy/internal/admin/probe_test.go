package admin

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/drain"
	"github.com/rosproxy/rosproxy/proxy"
)

// threeLabels is an admin whose label a has a master, b lost its own five
// seconds ago, and c has never had one.
func threeLabels(t testing.TB) (*Server, *fakeData) {
	a, data, source := newAdmin(t)
	data.snapshot.Labels = []proxy.LabelSnapshot{
		{Label: "a", Master: proxy.Master{Address: addr("10.0.0.1:7800")}, Epoch: 1},
		{Label: "b", Epoch: 2, LostSince: since, LostFor: 5 * time.Second},
		{Label: "c"},
	}
	source.labels = []discovery.LabelStatus{
		{Label: "a", State: discovery.Found}, {Label: "b", State: discovery.None}, {Label: "c", State: discovery.None},
	}
	return a, data
}

func TestProbeIsAnsweredForTheLabelsAndTheHoldThatItNames(t *testing.T) {
	for _, c := range []struct {
		query   string
		reasons []string
		labels  []string // that count
	}{
		{"", []string{"no master: b", "no master: c"}, []string{"a", "b", "c"}},
		{"label=a", nil, []string{"a"}},
		{"label=b", []string{"no master: b"}, []string{"b"}},
		{"label=a&label=b", []string{"no master: b"}, []string{"a", "b"}},
		{"label=b&hold=8s", nil, []string{"b"}},
		{"label=a&label=b&hold=8s", nil, []string{"a", "b"}},
		{"label=b&hold=5s", []string{"no master: b"}, []string{"b"}}, // less than, not as long as
		{"label=b&hold=5001ms", nil, []string{"b"}},
		{"label=b&hold=0", []string{"no master: b"}, []string{"b"}},
		{"label=c&hold=1000h", []string{"no master: c"}, []string{"c"}}, // it never had one
		{"hold=8s", []string{"no master: c"}, []string{"a", "b", "c"}},
		{"probe=haproxy&labels=c&label=a&Hold=x", nil, []string{"a"}}, // what is unknown is ignored
		{"%6cabel=x&;&=&label=%61", nil, []string{"a"}},
	} {
		t.Run(c.query, func(t *testing.T) {
			a, _ := threeLabels(t)
			for _, path := range []string{"/readyz", "/health"} {
				code := map[bool]int{true: 200, false: 503}[c.reasons == nil]
				v := wantJSON(t, ask(a, "GET", path+"?"+c.query), code)
				var reasons []string
				for _, r := range listOf(v["reasons"]) {
					reasons = append(reasons, r.(string))
				}
				if !slices.Equal(reasons, c.reasons) {
					t.Errorf("%s: got reasons %q; want %q", path, reasons, c.reasons)
				}
				counted := slices.Sorted(maps.Keys(v["labels"].(map[string]any)))
				if !slices.Equal(counted, c.labels) {
					t.Errorf("%s: got the labels %q; want %q", path, counted, c.labels)
				}
			}
			want := "up ready\n"
			if c.reasons != nil {
				want = "down ready #" + strings.Join(c.reasons, ", ") + "\n"
			}
			line := strings.NewReplacer("&", " ", "%61", "a").Replace(c.query)
			if got := agentSays(a, line); got != want {
				t.Errorf("agent check that sent %q: got %q; want %q", line, got, want)
			}
		})
	}
}

func listOf(v any) []any {
	list, _ := v.([]any)
	return list
}

func TestProbeThatMakesNoSenseIsRefused(t *testing.T) {
	for _, c := range []struct{ query, inError string }{
		{"label=nobody", `label \"nobody\": unknown label`},
		{"label=", `label \"\": unknown label`},
		{"label=a&label=A", `label \"A\": unknown label`}, // as written
		{"hold=", `hold \"\": not a duration`},
		{"hold=8", `hold \"8\": not a duration`},
		{"hold=-1s", `hold \"-1s\": negative`},
		{"hold=8s&hold=9s", `hold \"9s\": given twice`},
		{"draining=404&draining=404", `draining \"404\": given twice`},
		{"draining=500", `draining \"500\": neither 404 nor 503`},
		{"hold=8s;label=a", `hold \"8s;label=a\": not a duration`},
		{"hold=%zz", `hold \"%zz\": invalid URL escape`},
		{"label=" + strings.Repeat("x", 5000), strings.Repeat("x", 100) + `\": unknown label`},
	} {
		t.Run(c.query[:min(len(c.query), 40)], func(t *testing.T) {
			a, _ := threeLabels(t)
			for _, path := range []string{"/readyz", "/health"} {
				w := ask(a, "GET", path+"?"+c.query)
				if wantJSON(t, w, 400); !strings.Contains(w.Body.String(), c.inError) || w.Body.Len() > 300 {
					t.Errorf("%s: got %s; want a short error with %s", path, w.Body, c.inError)
				}
			}
		})
	}
}

// TestAgentCheckThatMakesNoSenseIsDown: as /readyz, whose 400 is DOWN to a balancer.
func TestAgentCheckThatMakesNoSenseIsDown(t *testing.T) {
	for sent, want := range map[string]string{
		"label=nobody":              `down ready #label "nobody": unknown label` + "\n",
		"label=a hold=soon":         `down ready #hold "soon": not a duration such as 500ms or 8s` + "\n",
		"label=a hold=1s hold=2s":   `down ready #hold "2s": given twice` + "\n",
		"label=" + longLabel(4_000): "",
	} {
		a, _ := threeLabels(t)
		got := agentSays(a, sent)
		if want != "" && got != want {
			t.Errorf("sent %.40q: got %q; want %q", sent, got, want)
		}
		wantShortLine(t, got)
	}
}

func longLabel(n int) string { return strings.Repeat("語", n/3) }

// TestAgentCheckAnswersForAllWhateverElseWasSent: an agent-send of before, which
// nobody looked at, goes on to work.
func TestAgentCheckAnswersForAllWhateverElseWasSent(t *testing.T) {
	a, data := threeLabels(t)
	data.snapshot.Labels = data.snapshot.Labels[:1]
	for _, sent := range []string{"", "state", "backend/server\r", "a=b c", "a=b a=c", "draining=404", "draining=500", "label hold", "\x00\xff"} {
		if got := agentSays(a, sent); got != "up ready\n" {
			t.Errorf("sent %q: got %q; want up ready", sent, got)
		}
	}
	if got := agentSays(a, "label=a hold=8s\r"); got != "up ready\n" {
		t.Errorf("a line that ends as in HTTP: got %q; want up ready", got)
	}
}

// TestHoldChangesNothingElse: a drain and a full instance are told as ever.
func TestHoldChangesNothingElse(t *testing.T) {
	a, data := threeLabels(t)
	data.snapshot.Full = true
	wantJSON(t, ask(a, "GET", "/readyz?label=b&hold=8s"), 503)
	if got := agentSays(a, "label=b hold=8s"); got != "drain up #full\n" {
		t.Errorf("full: got %q; want drain up #full", got)
	}
	data.snapshot.Full = false
	a.lifecycle.Start(drain.Options{})
	wantJSON(t, ask(a, "GET", "/readyz?label=b&hold=8s"), 503)
	wantJSON(t, ask(a, "GET", "/readyz?label=b&hold=8s&draining=404"), 404)
	wantJSON(t, ask(a, "GET", "/readyz?label=b&draining=404"), 503)
	if got := agentSays(a, "label=b hold=8s"); got != "drain up #draining\n" {
		t.Errorf("draining: got %q; want drain up #draining", got)
	}
}

// TestLabelCountsAsHeldBetweenConsulsAnswerAndTheDataPlane: for a moment
// discovery knows that the master is gone, and the data plane still serves.
func TestLabelCountsAsHeldBetweenConsulsAnswerAndTheDataPlane(t *testing.T) {
	a, _, source := newAdmin(t)
	for _, s := range []discovery.State{discovery.None, discovery.Conflict, discovery.Unreachable} {
		source.labels[0].State = s
		wantJSON(t, ask(a, "GET", "/readyz?hold=1ns"), 200)
		wantJSON(t, ask(a, "GET", "/readyz"), 503)
	}
}

func TestStatusSaysSinceWhenALabelHasNoMaster(t *testing.T) {
	a, _ := threeLabels(t)
	v := wantJSON(t, ask(a, "GET", "/status"), 200)
	var got []string
	for _, l := range v["labels"].([]any) {
		lost, there := l.(map[string]any)["lost_since"]
		got = append(got, fmt.Sprintf("%v %t", lost, there))
	}
	want := []string{"<nil> true", "2026-01-02T03:04:05.678Z true", "<nil> true"}
	if !slices.Equal(got, want) {
		t.Errorf("got lost_since %q; want %q", got, want)
	}
}

// FuzzProbe: whatever a balancer sends is understood or refused in one short line.
func FuzzProbe(f *testing.F) {
	f.Add("label=a&hold=8s&draining=404", "label=a hold=8s\n")
	f.Add("hold=%38s", "label=\x00 hold==")
	f.Fuzz(func(t *testing.T, query, line string) {
		var p probe
		if err := p.takeQuery(query); err == nil && (p.hold < 0 || p.whileDraining != 404 && p.whileDraining != 503) {
			t.Errorf("%q: got %+v", query, p)
		} else if err != nil && len(err.Error()) > 4*maxShown+100 {
			t.Errorf("%q: got an error of %d bytes", query, len(err.Error()))
		}
		if err := p.takeLine(line); err == nil && (p.hold < 0 || p.whileDraining != 503) {
			t.Errorf("%q: got %+v", line, p)
		}
	})
}
