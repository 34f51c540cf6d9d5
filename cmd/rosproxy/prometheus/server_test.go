package prometheus

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/rosproxy/rosproxy/cmd/internal/freeport"
)

// server is a Prometheus.
type server struct {
	t   *testing.T
	url string
}

// startServer starts one that scrapes the instances, once a second, as the recipe
// has it, and watches the hurried rules.
func startServer(t *testing.T, instances ...*instance) *server {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "rules.yaml"), hurried(read(t, rulesFile)))
	write(t, filepath.Join(dir, "prometheus.yaml"), configuration(t, instances))
	port, err := freeport.Find()
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, url: "http://" + freeport.Loopback(port)}
	process := start(t, filepath.Join(dir, "log"), "/usr/bin/prometheus", "--config.file="+filepath.Join(dir, "prometheus.yaml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+freeport.Loopback(port))
	eventually(t, "Prometheus to be ready", func() bool {
		if status, ended := process.Status(process.PID); ended {
			t.Fatalf("Prometheus ended with %v:\n%s", status, read(t, filepath.Join(dir, "log")))
		}
		r, err := http.Get(s.url + "/-/ready")
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
	return s
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// configuration is the recipe's, for these instances and in a hurry.
func configuration(t *testing.T, instances []*instance) string {
	t.Helper()
	type target struct {
		Targets []string          `yaml:"targets"`
		Labels  map[string]string `yaml:"labels"`
	}
	var c struct {
		Global  map[string]string `yaml:"global"`
		Rules   []string          `yaml:"rule_files"`
		Scrapes []struct {
			Job     string   `yaml:"job_name"`
			Targets []target `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal([]byte(read(t, mixin+"/prometheus.yaml")), &c); err != nil {
		t.Fatal(err)
	}
	c.Global = map[string]string{"scrape_interval": "1s", "evaluation_interval": "1s"}
	c.Rules = []string{"rules.yaml"}
	c.Scrapes[0].Targets = nil
	for _, i := range instances {
		c.Scrapes[0].Targets = append(c.Scrapes[0].Targets, target{[]string{i.admin}, map[string]string{"instance": i.name}})
	}
	b, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// ask asks Prometheus' API and decodes the data of its answer into v.
func (s *server) ask(path string, query url.Values, v any) error {
	r, err := http.Get(s.url + path + "?" + query.Encode())
	if err != nil {
		return err
	}
	defer r.Body.Close()
	answer := struct {
		Status, Error string
		Data          any
	}{Data: v}
	if err := json.NewDecoder(r.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", answer.Status, answer.Error)
	}
	return nil
}

// series is one of the result of a query: a value, or those of a range.
type series struct {
	Metric map[string]string
	Value  [2]any
	Values [][2]any
}

func (s *server) query(query string) (found []series, err error) {
	var data struct{ Result []series }
	err = s.ask("/api/v1/query", url.Values{"query": {query}}, &data)
	return data.Result, err
}

// queryRange is what a panel asks that shows the last two minutes.
func (s *server) queryRange(query string) (found []series, err error) {
	var data struct{ Result []series }
	now := time.Now()
	err = s.ask("/api/v1/query_range", url.Values{
		"query": {query}, "step": {"1"}, "start": {unix(now.Add(-2 * time.Minute))}, "end": {unix(now)},
	}, &data)
	return data.Result, err
}

func unix(t time.Time) string { return fmt.Sprintf("%.3f", float64(t.UnixMilli())/1000) }

// awaitScraped waits until a query has a result.
func (s *server) awaitScraped(query string) {
	s.t.Helper()
	eventually(s.t, query, func() bool { found, err := s.query(query); return err == nil && len(found) > 0 })
}

// alert is one that is pending or firing.
type alert struct {
	State  string
	Labels map[string]string
}

// has reports whether a fires and has those labels among its own.
func (a alert) has(labels map[string]string) bool {
	for name, value := range labels {
		if a.Labels[name] != value {
			return false
		}
	}
	return a.State == "firing"
}

func (s *server) alerts() (all []alert) {
	s.t.Helper()
	var data struct{ Alerts []alert }
	if err := s.ask("/api/v1/alerts", nil, &data); err != nil {
		s.t.Fatal(err)
	}
	return data.Alerts
}
