package postgresql_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/cmd/internal/rows"
)

// result is what a failover has shown.
type result struct {
	fault  fault
	took   time.Duration // await-fence
	late   int           // rows that the old primary acknowledged through rosproxy since its Patroni was killed
	broken []rows.Row    // and of these after await-fence: the promise is broken
	beside int           // those beside rosproxy after await-fence
}

// judge looks at who acknowledged what.
func (s *deposal) judge(p promotion) result {
	r := result{took: p.end.Sub(p.begin), beside: len(s.beside.Acked(p.end))}
	for _, w := range s.through {
		for _, row := range w.Acked(s.began) {
			if row.By != s.old.Port() {
				continue
			}
			r.late++
			if row.Acked.After(p.end) {
				r.broken = append(r.broken, row)
			}
		}
	}
	return r
}

// sum is what all failovers under a fault have shown.
type sum struct {
	fault                fault
	count                int
	least, most          time.Duration
	late, broken, beside int
}

func (r result) add(to map[string]*sum) {
	s := to[r.fault.name]
	if s == nil {
		s = &sum{fault: r.fault, least: r.took}
		to[r.fault.name] = s
	}
	s.count++
	s.least, s.most = min(s.least, r.took), max(s.most, r.took)
	s.late, s.broken, s.beside = s.late+r.late, s.broken+len(r.broken), s.beside+r.beside
}

// tellSums tells the sums as testdata/README.md shows them.
func tellSums(t *testing.T, sums map[string]*sum) {
	t.Helper()
	var text strings.Builder
	for _, f := range faults {
		s := sums[f.name]
		if s == nil {
			continue
		}
		fmt.Fprintf(&text, "| %s | %d | %v to %v | %d | %d |\n", f.name, s.count, s.least.Round(time.Millisecond), s.most.Round(time.Millisecond), s.broken, s.beside)
	}
	t.Logf("\n| at the same time | failovers | await-fence took | rows through rosproxy after it | rows beside rosproxy after it |\n|---|---|---|---|---|\n%s", text.String())
}
