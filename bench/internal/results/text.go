package results

import (
	"fmt"
	"math"
	"strings"
	"text/tabwriter"
)

// Number writes v with three digits that count.
func Number(v float64) string {
	switch abs := math.Abs(v); {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return "-"
	case v == 0:
		return "0"
	case abs >= 1000:
		return thousands(int64(math.Round(v)))
	case abs >= 100:
		return fmt.Sprintf("%.0f", v)
	case abs >= 10:
		return fmt.Sprintf("%.1f", v)
	case abs >= 1:
		return fmt.Sprintf("%.2f", v)
	default:
		return fmt.Sprintf("%.3f", v)
	}
}

func thousands(n int64) string {
	if n < 0 {
		return "-" + thousands(-n)
	}
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return thousands(n/1000) + fmt.Sprintf(",%03d", n%1000)
}

// String writes a summary as median (min..max).
func (s Summary) String() string {
	switch s.Count {
	case 0:
		return "-"
	case 1:
		return Number(s.Median)
	}
	return fmt.Sprintf("%s (%s..%s)", Number(s.Median), Number(s.Min), Number(s.Max))
}

// target writes what c wants.
func (c Check) target() string {
	sign := "<="
	if c.AtLeast {
		sign = ">="
	}
	limit := Number(c.Limit)
	if c.Limit > 0 && c.Limit < 0.05 {
		limit = fmt.Sprintf("1/%.0f", 1/c.Limit)
	}
	return sign + " " + limit
}

// subject writes what c is about.
func (c Check) subject() string {
	if c.Worst {
		return c.Figure + ", worst"
	}
	return c.Figure
}

// against writes what v compares with.
func (v Verdict) against(f *Figure) string {
	if math.IsNaN(v.Reference) {
		return "-"
	}
	return strings.TrimSpace(fmt.Sprintf("%s: %s %s", v.Who, Number(v.Reference), f.Unit))
}

func (v Verdict) word() string {
	switch {
	case !v.Known:
		return "not measured"
	case v.Met:
		return "met"
	default:
		return "MISSED"
	}
}

// Text is r for a terminal.
func Text(r *Run) string {
	var b strings.Builder
	for _, w := range r.Workloads {
		fmt.Fprintf(&b, "%s\n", w.Title)
		t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprint(t, "  ")
		for _, p := range w.Peers {
			fmt.Fprintf(t, "\t%s", p)
		}
		fmt.Fprintln(t)
		for _, f := range w.Figures {
			fmt.Fprintf(t, "  %s %s", f.Name, f.Unit)
			for _, p := range w.Peers {
				fmt.Fprintf(t, "\t%s", f.Of(p))
			}
			fmt.Fprintln(t)
		}
		_ = t.Flush() // into memory
		for _, c := range w.Checks {
			v := w.Judge(c)
			fmt.Fprintf(&b, "  %-12s %s: %s %s (%s)\n", v.word(), c.subject(), Number(v.Value), c.target(), v.against(w.Figure(c.Figure)))
		}
		for _, f := range w.Failures {
			fmt.Fprintf(&b, "  %s failed %d times: %s\n", f.Peer, f.Times, f.Reason)
		}
		fmt.Fprintln(&b)
	}
	return b.String()
}
