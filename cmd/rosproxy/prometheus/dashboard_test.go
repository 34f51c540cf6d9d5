package prometheus

import (
	"encoding/json"
	"math"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const dashboardFile = mixin + "/rosproxy.dashboard.json"

// dashboard is what the tests want of Grafana's JSON. That it is such JSON is
// tested beside it, with Grafana's own types.
type dashboard struct {
	Panels []struct {
		Title   string
		Type    string
		Targets []struct {
			Expr    string
			Instant bool
		}
	}
	Templating struct {
		List []struct{ Name, Type, Definition string }
	}
	Annotations struct {
		List []struct{ Name, Expr string }
	}
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	if err := json.Unmarshal([]byte(read(t, dashboardFile)), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// expressions are all that the dashboard asks Prometheus.
func (d dashboard) expressions() (all []string) {
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			all = append(all, target.Expr)
		}
	}
	for _, v := range d.Templating.List {
		all = append(all, v.Definition)
	}
	for _, a := range d.Annotations.List {
		all = append(all, a.Expr)
	}
	return all
}

// substituted is a query as Grafana sends it when all of each variable is chosen.
func substituted(query string) string {
	return strings.NewReplacer("$job", ".*", "$instance", ".*", "$label", ".*", "$__rate_interval", "5s", "$__range", "2m", "[1m]", "[5s]").Replace(query)
}

// hasData reports whether a result has a number that can be drawn.
func hasData(found []series) bool {
	for _, s := range found {
		for _, v := range append(s.Values, s.Value) {
			text, _ := v[1].(string)
			if f, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(f) && !math.IsInf(f, 0) {
				return true
			}
		}
	}
	return false
}

// labelValues is a variable's question for the values of a label.
var labelValues = regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)

func testDashboard(t *testing.T, s *server) {
	d := readDashboard(t)
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			ask := s.queryRange
			if target.Instant {
				ask = s.query
			}
			if found, err := ask(substituted(target.Expr)); err != nil || !hasData(found) {
				t.Errorf("panel %q: %s: got %d series without a number, %v; want data", p.Title, target.Expr, len(found), err)
			}
		}
	}
	for _, a := range d.Annotations.List {
		if found, err := s.queryRange(substituted(a.Expr)); err != nil || !hasData(found) {
			t.Errorf("annotation %q: %s: got %v, %v; want data", a.Name, a.Expr, found, err)
		}
	}
	for _, v := range d.Templating.List {
		if v.Type != "query" {
			continue
		}
		m := labelValues.FindStringSubmatch(v.Definition)
		if m == nil {
			t.Errorf("variable %s: got %q; want values of a label", v.Name, v.Definition)
			continue
		}
		var values []string
		if err := s.ask("/api/v1/label/"+m[2]+"/values", url.Values{"match[]": {substituted(m[1])}}, &values); err != nil || len(values) == 0 {
			t.Errorf("variable %s: got %v, %v; want some", v.Name, values, err)
		}
	}
}
