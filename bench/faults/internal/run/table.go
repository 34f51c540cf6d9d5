package run

import (
	"fmt"
	"strings"
	"time"
)

// Table is what came of a run, by kind of fault.
type Table struct {
	Seed uint64
	Took time.Duration
	rows []*row
}

type row struct {
	Result
	rounds int
}

func (t *Table) add(r Result) {
	for _, one := range t.rows {
		if one.Kind == r.Kind {
			one.put(r)
			return
		}
	}
	one := &row{Result: Result{Kind: r.Kind}}
	one.put(r)
	t.rows = append(t.rows, one)
}

func (one *row) put(r Result) {
	one.rounds++
	one.Failovers += r.Failovers
	one.Cut += r.Cut
	one.Carried += r.Carried
	one.Requests += r.Requests
	one.Packets += r.Packets
	one.Gap = max(one.Gap, r.Gap)
	one.Await = max(one.Await, r.Await)
	one.Violations = append(one.Violations, r.Violations...)
}

func (t *Table) sum() row {
	all := row{Result: Result{Kind: "all"}}
	for _, one := range t.rows {
		all.put(one.Result)
		all.rounds += one.rounds - 1
	}
	return all
}

// Violations are all that were found.
func (t *Table) Violations() []string { return t.sum().Violations }

// Failovers is how many labels have got another master.
func (t *Table) Failovers() int { return t.sum().Failovers }

// Packets is how many to masters were looked at.
func (t *Table) Packets() int { return t.sum().Packets }

// Rounds is how many there were.
func (t *Table) Rounds() int { return t.sum().rounds }

// Markdown is the table as a document has it, which is readable as it is.
func (t *Table) Markdown() string {
	var text strings.Builder
	line := func(cells ...any) {
		fmt.Fprintf(&text, "| %-28v | %6v | %9v | %6v | %7v | %8v | %11v | %11v | %10v |\n", cells...)
	}
	line("fault", "rounds", "failovers", "cut", "carried", "requests", "await-fence", "longest gap", "violations")
	fmt.Fprintf(&text, "|%s|%s|%s|%s|%s|%s|%s|%s|%s|\n", strings.Repeat("-", 30), dashes(8), dashes(11), dashes(8), dashes(9), dashes(10), dashes(13), dashes(13), dashes(12))
	all := t.sum()
	for _, one := range append(t.rows, &all) {
		line(one.Kind, one.rounds, one.Failovers, one.Cut, one.Carried, one.Requests, fmt.Sprintf("%.2f s", one.Await.Seconds()), fmt.Sprintf("%.2f s", one.Gap.Seconds()), len(one.Violations))
	}
	return text.String()
}

// dashes are of a column of numbers.
func dashes(n int) string { return strings.Repeat("-", n-1) + ":" }
