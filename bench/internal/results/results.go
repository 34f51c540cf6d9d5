// Package results is what a run of the benchmark has measured, and what
// becomes of it: medians, ratios against targets, tables and plots.
package results

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Run is one run of the benchmark.
type Run struct {
	Machine   []Fact // what it ran on, and with
	Command   string
	Began     time.Time
	Took      time.Duration
	Rounds    int
	Workloads []*Workload
}

// Add puts the workloads of a later run into r, in place of those of the same
// name or behind the others.
func (r *Run) Add(later *Run) {
	for _, w := range later.Workloads {
		w.Later = fmt.Sprintf("by `%s`, %s", later.Command, later.Began.UTC().Format("2006-01-02 15:04 MST"))
		for _, f := range later.Machine {
			if f.Name == "rosproxy" || f.Name == "Load before" {
				w.Later += ", " + strings.TrimPrefix(f.Name+" "+f.Value, "rosproxy ") // whose value begins so, too
			}
		}
		i := slices.IndexFunc(r.Workloads, func(old *Workload) bool { return old.Name == w.Name })
		if i < 0 {
			r.Workloads = append(r.Workloads, w)
			continue
		}
		r.Workloads[i] = w
	}
}

// Fact is one line about the machine.
type Fact struct{ Name, Value string }

// Workload is what was measured of one.
type Workload struct {
	Name, Title, About string
	Later              string   `json:",omitempty"` // when and with what, where it was not measured with the rest of the run
	Peers              []string // in the order they ran
	Figures            []*Figure
	Checks             []Check
	Failures           []Failure
}

// Failure is a run of a peer that gave nothing.
type Failure struct {
	Peer, Reason string
	Times        int
}

// Figure is one number of a workload, for each peer and round.
type Figure struct {
	Name, Unit string
	Samples    map[string][]float64 // by peer
}

// Check compares a figure of rosproxy's with a target.
type Check struct {
	Figure  string
	Against []string // the best of these peers; none: the target is absolute
	Other   string   // another figure of rosproxy's own to compare with, instead of peers
	AtLeast bool     // the target is a lower bound; else an upper one
	Limit   float64
	Worst   bool // judge by the worst sample instead of the median, that of peers too
}

// Subject is whom the checks are about.
const Subject = "rosproxy"

// Summary of samples.
type Summary struct {
	Median, Min, Max float64
	Count            int
}

// Summarize sums up samples; without any, Count is 0 and the rest NaN.
func Summarize(samples []float64) Summary {
	if len(samples) == 0 {
		return Summary{Median: math.NaN(), Min: math.NaN(), Max: math.NaN()}
	}
	s := slices.Clone(samples)
	slices.Sort(s)
	middle := len(s) / 2
	median := s[middle]
	if len(s)%2 == 0 {
		median = (s[middle-1] + s[middle]) / 2
	}
	return Summary{Median: median, Min: s[0], Max: s[len(s)-1], Count: len(s)}
}

// Figure returns the figure of a name; nil: there is none.
func (w *Workload) Figure(name string) *Figure {
	for _, f := range w.Figures {
		if f.Name == name {
			return f
		}
	}
	return nil
}

// Of sums up a peer's samples.
func (f *Figure) Of(peer string) Summary { return Summarize(f.Samples[peer]) }

// Add notes samples of one round of a peer.
func (w *Workload) Add(peer string, samples map[string][]float64) {
	for _, f := range w.Figures {
		if v := samples[f.Name]; len(v) > 0 {
			f.Samples[peer] = append(f.Samples[peer], v...)
		}
	}
}

// Fail notes that a round of a peer gave nothing.
func (w *Workload) Fail(peer, reason string) {
	for i := range w.Failures {
		if f := &w.Failures[i]; f.Peer == peer && f.Reason == reason {
			f.Times++
			return
		}
	}
	w.Failures = append(w.Failures, Failure{Peer: peer, Reason: reason, Times: 1})
}

// Verdict is how a check came out.
type Verdict struct {
	Own       float64 // rosproxy's
	Reference float64 // what it is compared with; NaN for an absolute target
	Who       string  // whose that is
	Value     float64 // what is held against the limit: the ratio, or Own
	Met       bool
	Known     bool // false: something was not measured
}

// Judge holds c against what was measured.
func (w *Workload) Judge(c Check) Verdict {
	f := w.Figure(c.Figure)
	of := func(s Summary) float64 { return s.Median }
	switch {
	case c.Worst && c.AtLeast:
		of = func(s Summary) float64 { return s.Min }
	case c.Worst:
		of = func(s Summary) float64 { return s.Max }
	}
	v := Verdict{Own: of(f.Of(Subject)), Reference: math.NaN()}
	v.Value = v.Own
	switch {
	case c.Other != "":
		v.Reference, v.Who = w.Figure(c.Other).Of(Subject).Median, c.Other
		v.Value = v.Own / v.Reference
	case len(c.Against) > 0:
		v.Reference, v.Who = f.best(c.Against, c.AtLeast, of)
		v.Value = v.Own / v.Reference
	}
	v.Known = !math.IsNaN(v.Value) && !math.IsInf(v.Value, 0)
	if c.AtLeast {
		v.Met = v.Known && v.Value >= c.Limit
	} else {
		v.Met = v.Known && v.Value <= c.Limit
	}
	return v
}

// best is what of says of the best of peers, and whose it is.
func (f *Figure) best(peers []string, highest bool, of func(Summary) float64) (float64, string) {
	value, who := math.NaN(), ""
	for _, p := range peers {
		m := of(f.Of(p))
		if !math.IsNaN(m) && (who == "" || highest == (m > value)) {
			value, who = m, p
		}
	}
	return value, who
}
