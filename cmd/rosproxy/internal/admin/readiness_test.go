package admin

import (
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/drain"
	"github.com/rosproxy/rosproxy/proxy"
)

func TestReadiness(t *testing.T) {
	has := proxy.LabelSnapshot{Master: proxy.Master{Address: addr("10.0.0.1:7800")}, Epoch: 1}
	had := proxy.LabelSnapshot{Epoch: 2}
	never := proxy.LabelSnapshot{}
	for _, c := range []struct {
		name     string
		state    []discovery.State
		data     []proxy.LabelSnapshot
		drain    bool
		code     int
		reasons  []any
		ofLabels []string
	}{
		{"found and installed", []discovery.State{discovery.Found}, []proxy.LabelSnapshot{has}, false, 200, nil, []string{"found"}},
		{"cold start", []discovery.State{discovery.Starting}, []proxy.LabelSnapshot{never}, false, 503, []any{"starting: a"}, []string{"starting"}},
		{"none", []discovery.State{discovery.None}, []proxy.LabelSnapshot{had}, false, 503, []any{"no master: a"}, []string{"no master"}},
		{"conflict", []discovery.State{discovery.Conflict}, []proxy.LabelSnapshot{had}, false, 503, []any{"conflict: a"}, []string{"conflict"}},
		{"fenced outage", []discovery.State{discovery.Unreachable}, []proxy.LabelSnapshot{had}, false, 503, []any{"consul unreachable: a"}, []string{"consul unreachable"}},
		{"found, first one not installed yet", []discovery.State{discovery.Found}, []proxy.LabelSnapshot{never}, false, 503, []any{"starting: a"}, []string{"starting"}},
		{"found, next one not installed yet", []discovery.State{discovery.Found}, []proxy.LabelSnapshot{had}, false, 503, []any{"no master: a"}, []string{"no master"}},
		{"draining", []discovery.State{discovery.Found}, []proxy.LabelSnapshot{has}, true, 503, []any{"draining"}, []string{"found"}},
		{"draining without master", []discovery.State{discovery.None}, []proxy.LabelSnapshot{had}, true, 503, []any{"draining", "no master: a"}, []string{"no master"}},
		{"one label of two", []discovery.State{discovery.Found, discovery.None}, []proxy.LabelSnapshot{has, had}, false, 503, []any{"no master: b"}, []string{"found", "no master"}},
		{"the same reason of two labels", []discovery.State{discovery.None, discovery.None}, []proxy.LabelSnapshot{had, had}, false, 503, []any{"no master: a", "no master: b"}, []string{"no master", "no master"}},
		{"a label that discovery does not know", nil, []proxy.LabelSnapshot{never}, false, 503, []any{"starting: a"}, []string{"starting"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, data, source := newAdmin(t)
			names := []string{"a", "b"}
			source.labels, data.snapshot.Labels = nil, nil
			for i, s := range c.state {
				source.labels = append(source.labels, discovery.LabelStatus{Label: names[i], State: s})
			}
			for i, l := range c.data {
				l.Label = names[i]
				data.snapshot.Labels = append(data.snapshot.Labels, l)
			}
			if c.drain {
				a.lifecycle.Start(drain.Options{})
			}
			for _, path := range []string{"/readyz", "/health", "/health?probe=haproxy"} {
				v := wantJSON(t, ask(a, "GET", path), c.code)
				want := map[int]string{200: "UP", 503: "DOWN"}[c.code]
				if v["status"] != want {
					t.Errorf("got status %v; want %s", v["status"], want)
				}
				if got, _ := v["reasons"].([]any); !reflect.DeepEqual(got, c.reasons) {
					t.Errorf("got reasons %v; want %v", got, c.reasons)
				}
				for i, l := range c.ofLabels {
					if got := v["labels"].(map[string]any)[names[i]]; got != l {
						t.Errorf("label %s: got %v; want %s", names[i], got, l)
					}
				}
			}
		})
	}
}

// TestHealthWaitsForNoShard: a stuck one, or one that is busy with a cut, must
// not make a balancer take the instance out.
func TestHealthWaitsForNoShard(t *testing.T) {
	a, data, _ := newAdmin(t)
	data.hold()
	defer data.release()
	for _, path := range []string{"/healthz", "/readyz", "/health"} {
		wantJSON(t, ask(a, "GET", path), 200)
	}
	if got := agentSays(a, ""); got != "up ready\n" {
		t.Errorf("agent check: got %q; want up ready", got)
	}
	if got := a.Summary(); !strings.HasPrefix(got, "serving: ") {
		t.Errorf("status for the service manager: got %q; want serving", got)
	}
}

func TestFullInstanceIsNotReady(t *testing.T) {
	a, data, _ := newAdmin(t)
	data.snapshot.Full = true
	v := wantJSON(t, ask(a, "GET", "/readyz?draining=404"), 503)
	if got := v["reasons"]; !reflect.DeepEqual(got, []any{"full"}) {
		t.Errorf("got reasons %v; want full", got)
	}
	a.lifecycle.Start(drain.Options{})
	v = wantJSON(t, ask(a, "GET", "/readyz?draining=404"), 404) // it takes no more in any case
	if got := v["reasons"]; !reflect.DeepEqual(got, []any{"draining"}) {
		t.Errorf("draining: got reasons %v; want draining alone", got)
	}
}

func TestMasterThatIsOneOfOurOwnListenersIsNoMaster(t *testing.T) {
	a, data, _ := newAdmin(t)
	data.snapshot.Labels[0].Master, data.snapshot.Labels[0].Loop = proxy.Master{}, true
	v := wantJSON(t, ask(a, "GET", "/readyz"), 503)
	if got := v["reasons"]; !reflect.DeepEqual(got, []any{"loop: default"}) {
		t.Errorf("got reasons %v; want loop", got)
	}
}

func TestReadyzTellsOfADrainWithTheCodeThatIsAskedFor(t *testing.T) {
	for _, c := range []struct {
		name     string
		state    discovery.State
		drain    bool
		query    string
		code     int
		reasoned bool
	}{
		{"serving", discovery.Found, false, "?draining=404", http.StatusOK, false},
		{"draining", discovery.Found, true, "?draining=404", http.StatusNotFound, true},
		{"draining, among what else a probe sends", discovery.Found, true, "?probe=haproxy&draining=404", http.StatusNotFound, true},
		{"draining, as without it", discovery.Found, true, "?draining=503", http.StatusServiceUnavailable, true},
		{"draining without master", discovery.None, true, "?draining=404", http.StatusServiceUnavailable, true},
		{"no master", discovery.None, false, "?draining=404", http.StatusServiceUnavailable, true},
		{"cold start", discovery.Starting, false, "?draining=404", http.StatusServiceUnavailable, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, _, source := newAdmin(t)
			source.labels[0].State = c.state
			if c.drain {
				a.lifecycle.Start(drain.Options{})
			}
			for _, path := range []string{"/readyz", "/health"} {
				v := wantJSON(t, ask(a, "GET", path+c.query), c.code)
				if reasons, _ := v["reasons"].([]any); len(reasons) > 0 != c.reasoned || (v["status"] == "DOWN") != c.reasoned {
					t.Errorf("got %v; want it DOWN with reasons: %t", v, c.reasoned)
				}
				if w := ask(a, "HEAD", path+c.query); w.Code != c.code {
					t.Errorf("HEAD: got %d; want %d", w.Code, c.code)
				}
			}
		})
	}
}
