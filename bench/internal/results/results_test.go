package results

import (
	"math"
	"testing"
)

func TestMedianOfOddAndEvenCounts(t *testing.T) {
	for _, c := range []struct {
		samples []float64
		want    Summary
	}{
		{[]float64{3, 1, 2}, Summary{2, 1, 3, 3}},
		{[]float64{4, 1, 2, 3}, Summary{2.5, 1, 4, 4}},
		{[]float64{7}, Summary{7, 7, 7, 1}},
	} {
		if got := Summarize(c.samples); got != c.want {
			t.Errorf("summary of %v: got %v; want %v", c.samples, got, c.want)
		}
	}
	if got := Summarize(nil); got.Count != 0 || !math.IsNaN(got.Median) {
		t.Errorf("summary of nothing: got %v; want no median", got)
	}
}

func TestSummarizeLeavesTheSamplesInOrder(t *testing.T) {
	s := []float64{3, 1, 2}
	Summarize(s)
	if s[0] != 3 {
		t.Errorf("samples: got %v; want the rounds' order", s)
	}
}

// workload has rosproxy at 10 (8..40), haproxy at 20, nginx at 16.
func workload() *Workload {
	w := &Workload{Figures: []*Figure{
		{Name: "cost", Samples: map[string][]float64{}},
		{Name: "cost without", Samples: map[string][]float64{}},
	}}
	for _, v := range []float64{8, 10, 40} {
		w.Add(Subject, map[string][]float64{"cost": {v}, "cost without": {v / 2}})
		w.Add("haproxy", map[string][]float64{"cost": {2 * v}})
		w.Add("nginx", map[string][]float64{"cost": {1.6 * v}})
	}
	return w
}

func TestCheckComparesMediansWithTheBetterRival(t *testing.T) {
	w := workload()
	rivals := []string{"haproxy", "nginx"}
	for _, c := range []struct {
		about string
		check Check
		who   string
		value float64
		met   bool
	}{
		{"the cheaper is the better", Check{Figure: "cost", Against: rivals, Limit: 0.63}, "nginx", 10.0 / 16, true},
		{"just above the limit", Check{Figure: "cost", Against: rivals, Limit: 0.62}, "nginx", 10.0 / 16, false},
		{"the faster is the better", Check{Figure: "cost", Against: rivals, AtLeast: true, Limit: 0.6}, "haproxy", 0.5, false},
		{"one rival", Check{Figure: "cost", Against: rivals[:1], Limit: 0.5}, "haproxy", 0.5, true},
		{"absolute", Check{Figure: "cost", Limit: 10}, "", 10, true},
		{"absolute, the worst", Check{Figure: "cost", Limit: 39, Worst: true}, "", 40, false},
		{"the worst against the worst", Check{Figure: "cost", Against: rivals, Limit: 0.63, Worst: true}, "nginx", 40.0 / 64, true},
		{"its own other figure", Check{Figure: "cost", Other: "cost without", Limit: 2}, "cost without", 2, true},
	} {
		v := w.Judge(c.check)
		if !v.Known || v.Who != c.who || math.Abs(v.Value-c.value) > 1e-9 || v.Met != c.met {
			t.Errorf("%s: got %+v; want %v against %q, met %v", c.about, v, c.value, c.who, c.met)
		}
	}
}

func TestWhatWasNotMeasuredIsNotMet(t *testing.T) {
	w := workload()
	for _, c := range []Check{
		{Figure: "cost", Against: []string{"envoy"}, Limit: 1},
		{Figure: "cost", Against: []string{"envoy"}, Limit: 1, AtLeast: true},
	} {
		if v := w.Judge(c); v.Known || v.Met {
			t.Errorf("against a peer that did not run: got %+v; want unknown and not met", v)
		}
	}
	delete(w.Figure("cost").Samples, Subject)
	if v := w.Judge(Check{Figure: "cost", Limit: 1}); v.Known || v.Met {
		t.Errorf("without samples of its own: got %+v; want unknown and not met", v)
	}
}

func TestFailuresAreCountedByReason(t *testing.T) {
	w := workload()
	w.Fail("nginx", "a")
	w.Fail("nginx", "a")
	w.Fail("nginx", "b")
	if len(w.Failures) != 2 || w.Failures[0].Times != 2 {
		t.Errorf("failures: got %v; want a twice and b once", w.Failures)
	}
}
