package admin

import (
	"os"
	"strings"
	"testing"

	"github.com/rosproxy/rosproxy/proxy"
)

func reference(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestReferenceListsEveryMetricAndReason(t *testing.T) {
	text := reference(t)
	a, _, _ := newAdmin(t)
	for line := range strings.Lines(ask(a, "GET", "/metrics").Body.String()) {
		name, ok := strings.CutPrefix(line, "# TYPE rosproxy_")
		if !ok {
			continue
		}
		name, _, _ = strings.Cut(name, " ")
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("The reference does not list the metric %s", name)
		}
	}
	for r := range proxy.NumReasons {
		if !strings.Contains(text, proxy.Reason(r).String()) {
			t.Errorf("The reference does not list the reason %s", proxy.Reason(r))
		}
	}
}
