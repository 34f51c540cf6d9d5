package results

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestNumbersHaveThreeDigitsThatCount(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.2934: "0.293", 4.318: "4.32", 48.04: "48.0", 480.4: "480", 8000: "8,000", 1234567: "1,234,567", -1500: "-1,500",
		math.Inf(1): "-",
	} {
		if got := Number(v); got != want {
			t.Errorf("number %v: got %q; want %q", v, got, want)
		}
	}
	if got := Number(math.NaN()); got != "-" {
		t.Errorf("no number: got %q; want -", got)
	}
}

func sampleRun() *Run {
	up := &Workload{
		Name: "bulk-up-4", Title: "Bulk up, 4 streams", About: "About it.", Peers: []string{Subject, "haproxy"},
		Figures: []*Figure{{Name: cpuGB, Unit: "s/GB", Samples: map[string][]float64{}}},
		Checks: []Check{
			{Figure: cpuGB, Against: []string{"haproxy"}, Limit: 0.33},
			{Figure: cpuGB, Against: []string{"haproxy"}, Limit: 0.5},
			{Figure: cpuGB, Limit: 1.0 / 40},
		},
	}
	for _, v := range []float64{0.3, 0.4, 0.5} {
		up.Add(Subject, samplesOf(v))
		up.Add("haproxy", samplesOf(2*v))
	}
	up.Fail("haproxy", "first | line\nsecond line")
	return &Run{
		Machine: []Fact{{"Kernel", "Linux"}}, Command: "make bench", Began: time.Unix(1e9, 0), Took: time.Minute, Rounds: 3,
		Workloads: []*Workload{up},
	}
}

func samplesOf(v float64) map[string][]float64 { return map[string][]float64{cpuGB: {v}} }

func TestReportSaysWhatWasMissed(t *testing.T) {
	text := Markdown(sampleRun(), []Plot{{"ratios.svg", "The ratios"}})
	for _, want := range []string{
		"1 of 3 targets are met.",
		"| bulk-up-4 | CPU per GB | 0.400 s/GB | haproxy: 0.800 s/GB | 0.500 | <= 0.330 | **MISSED** |",
		"| bulk-up-4 | CPU per GB | 0.400 s/GB | haproxy: 0.800 s/GB | 0.500 | <= 0.500 | met |",
		"| 0.400 | <= 1/40 | **MISSED** |",
		"| CPU per GB, s/GB | 0.400 (0.300..0.500) | 0.800 (0.600..1.00) |",
		"haproxy failed 1 times: first \\| line second line",
		"![The ratios](ratios.svg)",
		"`make bench`, 2001-09-09 01:46 UTC",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q; it is:\n%s", want, text)
		}
	}
}

func TestSavedRunRendersTheSameAgain(t *testing.T) {
	dir, again := t.TempDir(), t.TempDir()
	if err := Save(sampleRun(), dir); err != nil {
		t.Fatal(err)
	}
	r, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := Render(r, again); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{ReportFile, "ratios.svg", "bulk-cpu.svg"} {
		a, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(again, file))
		if err != nil {
			t.Fatal(err)
		}
		if string(a) != string(b) || len(a) == 0 {
			t.Errorf("%s: got %d bytes the second time; want the same %d", file, len(b), len(a))
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "failover.svg")); err == nil {
		t.Error("a plot of what was not measured was drawn")
	}
}

// A part of the report is measured anew, the rest stays as it was.
func TestLaterRunReplacesItsWorkloadsAlone(t *testing.T) {
	r, later := sampleRun(), sampleRun()
	r.Workloads = append(r.Workloads, &Workload{Name: "idle", Title: "Idle", Peers: []string{Subject}})
	later.Machine = []Fact{{"Kernel", "Linux 9"}, {"Load before", "0.5 (1 minute)"}, {"rosproxy", "rosproxy v2 go1"}}
	later.Command, later.Began = "bench run -workload bulk", time.Unix(2e9, 0)
	later.Workloads[0].Figures[0].Samples[Subject] = []float64{9}
	later.Workloads = append(later.Workloads, &Workload{Name: "labels", Title: "Labels", Peers: []string{Subject}})
	r.Add(later)
	text := Markdown(r, nil)
	for _, want := range []string{
		"| Kernel | Linux |", "`make bench`, 2001-09-09 01:46 UTC", "| CPU per GB, s/GB | 9.00 |",
		"Measured later than the rest: by `bench run -workload bulk`, 2033-05-18 03:33 UTC, Load before 0.5 (1 minute), rosproxy v2 go1.",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q; it is:\n%s", want, text)
		}
	}
	if got := strings.Count(text, "Measured later"); got != 2 {
		t.Errorf("workloads measured later: got %d; want 2 of the 3", got)
	}
	var order []string
	for _, w := range r.Workloads {
		order = append(order, w.Name)
	}
	if got := strings.Join(order, " "); got != "bulk-up-4 idle labels" {
		t.Errorf("workloads: got %s; want bulk-up-4 idle labels", got)
	}
}

func TestPlotsShowLabelsAndNumbers(t *testing.T) {
	dir := t.TempDir()
	if err := Save(sampleRun(), dir); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string][]string{
		"ratios.svg":   {"bulk-up-4: CPU per GB", "2.00x"},
		"bulk-cpu.svg": {"bulk-up-4", "rosproxy", "haproxy", "0.800"},
	} {
		svg, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !strings.Contains(string(svg), w) {
				t.Errorf("%s lacks %q", file, w)
			}
		}
	}
}
