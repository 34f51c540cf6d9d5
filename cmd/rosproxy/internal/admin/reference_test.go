package admin

import (
	"encoding/json"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/documents"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/api"
	"github.com/rosproxy/rosproxy/proxy"
)

func TestReferenceListsEveryMetricWithItsLabels(t *testing.T) {
	documented := map[string][]string{}
	for _, row := range documents.Rows(documents.Section(t, documents.Reference, "## Metrics")) {
		for _, name := range documents.Quotes(row[0]) {
			labels := documents.Quotes(row[1])
			slices.Sort(labels)
			documented[name] = labels
		}
	}
	a, _, _ := newAdmin(t)
	described := make(chan *prometheus.Desc, 1000)
	newCollector(a).Describe(described)
	close(described)
	for d := range described {
		name, labels := parts(t, d)
		got, ok := documented[name]
		if !ok {
			t.Errorf("the reference does not list the metric %s", name)
		} else if !slices.Equal(got, labels) {
			t.Errorf("%s: the reference gives it the labels %q; want %q", name, got, labels)
		}
		delete(documented, name)
	}
	for name := range documented {
		t.Errorf("the reference lists %s, which is no metric", name)
	}
}

// parts are the name and the labels of a metric, in order.
func parts(t *testing.T, d *prometheus.Desc) (name string, labels []string) {
	t.Helper()
	m := regexp.MustCompile(`fqName: "rosproxy_(\w+)".*variableLabels: \{([^}]*)\}`).FindStringSubmatch(d.String())
	if m == nil {
		t.Fatalf("got %s; want a name and labels", d)
	}
	if m[2] != "" {
		labels = strings.Split(m[2], ",")
	}
	slices.Sort(labels)
	return m[1], labels
}

func TestReferenceListsEveryCloseReason(t *testing.T) {
	text := documents.Section(t, documents.Reference, "## Metrics")
	row := regexp.MustCompile("(?m)^\\| `connections_closed_total` .*\\| ([a-z_, ]+) \\|$").FindStringSubmatch(text)
	if row == nil {
		t.Fatal("the reference's row of connections_closed_total has no list of reasons")
	}
	var reasons []string
	for r := range proxy.NumReasons {
		reasons = append(reasons, proxy.Reason(r).String())
	}
	if got, want := row[1], strings.Join(reasons, ", "); got != want {
		t.Errorf("reasons in the reference: got %s; want %s", got, want)
	}
}

func TestReferenceListsEveryEndpoint(t *testing.T) {
	documented := map[string]bool{}
	text, _, _ := strings.Cut(documents.Section(t, documents.Reference, "## Admin endpoints"), "\n### ")
	for _, row := range documents.Rows(text) {
		for _, request := range documents.Quotes(row[0]) {
			request, _, _ = strings.Cut(request, "[")
			request, _, _ = strings.Cut(request, "?")
			documented[request] = true
		}
	}
	a, _, _ := newAdmin(t)
	for path, methods := range a.routes() {
		for method := range methods {
			if !documented[method+" "+path] {
				t.Errorf("the reference does not list %s %s", method, path)
			}
			delete(documented, method+" "+path)
		}
	}
	for left := range documented {
		t.Errorf("the reference lists %s, which is no endpoint", left)
	}
}

// The reference shows each answer of JSON below a comment, with all fields that it may have.
var answers = map[string]any{
	"GET /status":      api.Status{},
	"GET /connections": []api.Connection{},
	"GET /drain":       api.DrainState{},
	"GET /pause":       []api.Paused{},
	"GET /readyz":      Readiness{},
}

func TestReferenceShowsEveryFieldOfTheAnswers(t *testing.T) {
	shown := map[string]string{}
	for _, b := range documents.Blocks(documents.Section(t, documents.Reference, "### Answers")) {
		if name, ok := strings.CutPrefix(b.Above, "<!-- answer of "); ok {
			shown[strings.TrimSuffix(name, " -->")] = b.Text
		}
	}
	for name, answer := range answers {
		var document any
		if err := json.Unmarshal([]byte(shown[name]), &document); err != nil {
			t.Errorf("the reference's answer of %s: %v", name, err)
			continue
		}
		want := map[string]bool{}
		fieldsOf(reflect.TypeOf(answer), "", want)
		got := map[string]bool{}
		fieldsIn(document, "", want, got)
		if !maps.Equal(got, want) {
			t.Errorf("fields of %s in the reference: got %q; want %q", name, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
		}
	}
}

// fieldsOf are the paths of the fields of a type; of a map there are none.
func fieldsOf(typ reflect.Type, at string, fields map[string]bool) {
	switch typ.Kind() {
	case reflect.Slice, reflect.Pointer:
		fieldsOf(typ.Elem(), at, fields)
	case reflect.Struct:
		for i := range typ.NumField() {
			f := typ.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			switch {
			case f.Anonymous:
				fieldsOf(f.Type, at, fields)
			case name != "":
				fields[at+name] = true
				fieldsOf(f.Type, at+name+".", fields)
			}
		}
	}
}

// fieldsIn are the paths of the fields of a document, but for those of a map.
func fieldsIn(document any, at string, known, fields map[string]bool) {
	switch d := document.(type) {
	case []any:
		for _, one := range d {
			fieldsIn(one, at, known, fields)
		}
	case map[string]any:
		isMap := at != "" && !slices.ContainsFunc(slices.Collect(maps.Keys(known)), func(k string) bool { return strings.HasPrefix(k, at) })
		if isMap {
			return
		}
		for name, value := range d {
			fields[at+name] = true
			fieldsIn(value, at+name+".", known, fields)
		}
	}
}
