package admin

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/drain"
	"github.com/rosproxy/rosproxy/proxy"
)

func TestAgentLineSaysTheAdministrativeAndTheOperationalState(t *testing.T) {
	has := proxy.LabelSnapshot{Master: proxy.Master{Address: addr("10.0.0.1:7800")}, Epoch: 1}
	had := proxy.LabelSnapshot{Epoch: 2}
	for _, c := range []struct {
		name   string
		labels []string
		states []discovery.State
		data   []proxy.LabelSnapshot
		drain  bool
		full   bool
		want   string
	}{
		{"serving", []string{"a"}, []discovery.State{discovery.Found}, []proxy.LabelSnapshot{has}, false, false, "up ready\n"},
		{"draining", []string{"a"}, []discovery.State{discovery.Found}, []proxy.LabelSnapshot{has}, true, false, "drain up #draining\n"},
		{"no master", []string{"a"}, []discovery.State{discovery.None}, []proxy.LabelSnapshot{had}, false, false, "down ready #no master: a\n"},
		{"no master of one label", []string{"a", "b"}, []discovery.State{discovery.Found, discovery.None}, []proxy.LabelSnapshot{has, had}, false, false, "down ready #no master: b\n"},
		{"two labels, two reasons", []string{"b", "a"}, []discovery.State{discovery.None, discovery.Conflict}, []proxy.LabelSnapshot{had, had}, false, false, "down ready #conflict: a, no master: b\n"},
		{"draining without master", []string{"a"}, []discovery.State{discovery.None}, []proxy.LabelSnapshot{had}, true, false, "drain down #draining, no master: a\n"},
		{"full", []string{"a"}, []discovery.State{discovery.Found}, []proxy.LabelSnapshot{has}, false, true, "drain up #full\n"},
		{"full and draining", []string{"a"}, []discovery.State{discovery.Found}, []proxy.LabelSnapshot{has}, true, true, "drain up #draining\n"},
		{"full without master", []string{"a"}, []discovery.State{discovery.None}, []proxy.LabelSnapshot{had}, false, true, "down ready #full, no master: a\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, data, source := newAdmin(t)
			source.labels, data.snapshot.Labels = nil, nil
			data.snapshot.Full = c.full
			for i, name := range c.labels {
				source.labels = append(source.labels, discovery.LabelStatus{Label: name, State: c.states[i]})
				l := c.data[i]
				l.Label = name
				data.snapshot.Labels = append(data.snapshot.Labels, l)
			}
			if c.drain {
				a.lifecycle.Start(drain.Options{})
			}
			if got := agentSays(a, ""); got != c.want {
				t.Errorf("got %q; want %q", got, c.want)
			}
		})
	}
}

// agentSays is the answer to an agent check that has sent the text.
func agentSays(a *Server, sent string) string {
	return (&AgentCheck{readiness: a.readiness}).lineFor(sent)
}

func TestAgentLineIsShortWhateverTheLabels(t *testing.T) {
	for _, first := range []string{"", "x", "xx"} { // a character of three bytes ends at any offset
		r := Readiness{Status: "DOWN", State: drain.Serving, Reasons: []string{"no master: " + first + strings.Repeat("語", 40)}}
		wantShortLine(t, agentLine(r))
	}
}

func wantShortLine(t *testing.T, got string) {
	t.Helper()
	if len(got) > len("down ready #\n")+maxAgentReason || !utf8.ValidString(got) || strings.Count(got, "\n") != 1 {
		t.Errorf("got %d bytes, %q; want one valid line of at most %d bytes of reason", len(got), got, maxAgentReason)
	}
}
