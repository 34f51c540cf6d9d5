package prometheus

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

const (
	rulesFile  = mixin + "/rosproxy.rules.yaml"
	testsFile  = mixin + "/rosproxy.rules.test.yaml"
	operations = "../OPERATIONS.md"
	reference  = "../README.md"
)

// rule is one alert.
type rule struct {
	Alert       string
	Expr        string
	For         string
	Labels      map[string]string
	Annotations map[string]string
}

// rules are the alerts, in the order of their file.
func rules(t *testing.T) []rule {
	t.Helper()
	var f struct {
		Groups []struct{ Rules []rule }
	}
	if err := yaml.Unmarshal([]byte(read(t, rulesFile)), &f); err != nil {
		t.Fatal(err)
	}
	var all []rule
	for _, g := range f.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) == 0 {
		t.Fatal("there are no rules")
	}
	return all
}

// promtool runs it on input, and ends the test when it finds fault.
func promtool(t *testing.T, input string, args ...string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), "promtool", args...)
	c.Stdin = strings.NewReader(input)
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestPromtoolFindsNoFaultInTheFiles(t *testing.T) {
	promtool(t, "", "check", "rules", "--lint=all", "--lint-fatal", rulesFile)
	promtool(t, "", "check", "config", "--lint=all", "--lint-fatal", mixin+"/prometheus.yaml")
}

func TestAlertsFireWhenTheyShouldAndNotWhenTheyShouldNot(t *testing.T) {
	promtool(t, "", "test", "rules", testsFile)
}

// TestEachAlertHasACaseOfItsOwn, in which it fires, for not all series there are;
// and one that waits does not fire before.
func TestEachAlertHasACaseOfItsOwn(t *testing.T) {
	var f struct {
		Tests []struct {
			Name   string
			Alerts []struct {
				Name string `yaml:"alertname"`
				Want []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
			Series []any `yaml:"input_series"`
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, testsFile)), &f); err != nil {
		t.Fatal(err)
	}
	fires, waits := map[string]bool{}, map[string]bool{}
	for _, c := range f.Tests {
		for _, a := range c.Alerts {
			if len(a.Want) > 0 && len(c.Series) > len(a.Want) && strings.Contains(c.Name, a.Name+" ") {
				fires[a.Name] = true
			}
			if len(a.Want) == 0 {
				waits[a.Name] = true
			}
		}
	}
	for _, r := range rules(t) {
		if !fires[r.Alert] {
			t.Errorf("%s: %s has no case that is named after it, in which it fires and has more series than that", testsFile, r.Alert)
		}
		if r.For != "" && !waits[r.Alert] {
			t.Errorf("%s: %s waits for %s, and no case says so", testsFile, r.Alert, r.For)
		}
	}
}

// TestEachAlertIsDescribedToOperators: in a section of its name, to which its annotation points.
func TestEachAlertIsDescribedToOperators(t *testing.T) {
	text := read(t, operations)
	for _, r := range rules(t) {
		if want := "cmd/rosproxy/OPERATIONS.md#" + strings.ToLower(r.Alert); r.Annotations["runbook"] != want {
			t.Errorf("%s: got runbook %q; want %q", r.Alert, r.Annotations["runbook"], want)
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s: no summary, or no description", r.Alert)
		}
		if s := r.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s: got severity %q; want critical or warning", r.Alert, s)
		}
		_, section, found := strings.Cut(text, "### "+r.Alert+"\n")
		if section, _, _ = strings.Cut(section, "\n#"); !found || len(strings.Fields(section)) < 20 {
			t.Errorf("%s: no section of %s says what to look at and what to do", r.Alert, operations)
		}
	}
}

// hurry is by how much the tests' copy of the rules is quicker.
const hurry = 30

// spans are the times of rules: how long an alert waits, and over how long a range goes.
var spans = regexp.MustCompile(`(for: |\[)(\d+[smh])(\]?)`)

// hurried is rules with each `for:` and each range divided by hurry, and nothing
// else changed: thresholds count per second, or do not depend on time.
func hurried(rules string) string {
	return spans.ReplaceAllStringFunc(rules, func(s string) string {
		m := spans.FindStringSubmatch(s)
		d, err := time.ParseDuration(m[2])
		if err != nil {
			panic(err) // the expression lets nothing else through
		}
		return fmt.Sprintf("%s%dms%s", m[1], (d / hurry).Milliseconds(), m[3])
	})
}

func TestHurriedRulesDifferInNothingButTheirTimes(t *testing.T) {
	const text = "expr: rate(x[2m]) > 0.5 and x offset 1\nfor: 30s\nfor 1m: rate(y[1h])"
	const want = "expr: rate(x[4000ms]) > 0.5 and x offset 1\nfor: 1000ms\nfor 1m: rate(y[120000ms])"
	if got := hurried(text); got != want {
		t.Errorf("got %q; want %q", got, want)
	}
	file := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(file, []byte(hurried(read(t, rulesFile))), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "", "check", "rules", file)
	for _, r := range rules(t) {
		if r.For != "" && !spans.MatchString("for: "+r.For) {
			t.Errorf("%s: for: %s is none of the times that are hurried", r.Alert, r.For)
		}
	}
}
