package postgresql_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/cmd/internal/patroni"
	"github.com/rosproxy/rosproxy/cmd/internal/rows"
)

// deposal is one failover under the writers' eyes.
type deposal struct {
	*fenced
	t        *testing.T
	ctx      context.Context
	old, new *patroni.Node
	through  map[*instance]*rows.Writers
	beside   *rows.Writers // without rosproxy
	began    time.Time
	server   int // of Consul, which was killed
}

// begin starts writers through both instances, and beside them.
func (f *fenced) begin(t *testing.T) *deposal {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*testTimeout)
	t.Cleanup(cancel)
	s := &deposal{fenced: f, t: t, ctx: ctx, through: map[*instance]*rows.Writers{}}
	leader, err := f.AwaitLeader(ctx, f.Nodes...)
	s.must(err)
	s.old, s.new = leader, f.Nodes[0]
	if s.old == s.new {
		s.new = f.Nodes[1]
	}
	start := func(count int, table, address string) *rows.Writers {
		s.must(rows.Create(ctx, leader.Address, table))
		w := rows.Start(count, table, rows.Options{Think: think}, func() string { return address })
		t.Cleanup(w.Abort)
		return w
	}
	for _, i := range []*instance{f.a, f.b} {
		i.awaitReady()
		eventually(t, i.name+" to have the leader", func() bool {
			m := i.label().Master
			return m != nil && m.Address == leader.Address
		})
		s.through[i] = start(fenceWriters, "through_"+i.name, i.listen)
	}
	s.beside = start(1, "beside", leader.Address)
	time.Sleep(calm)
	for i, w := range s.through {
		eventually(t, "all writers through "+i.name+" to write", func() bool { return w.Count().Live == fenceWriters })
	}
	s.began = time.Now()
	return s
}

// stop ends the writers, also those that wait.
func (s *deposal) stop() {
	s.beside.Abort()
	for _, w := range s.through {
		w.Abort()
	}
}

func (s *deposal) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// promotion is one run of await-fence.
type promotion struct{ begin, end time.Time }

// awaitPromotion waits until await-fence has let a promotion go on.
func (s *deposal) awaitPromotion() (p promotion) {
	s.t.Helper()
	eventually(s.t, "the end of await-fence", func() bool {
		text, _ := os.ReadFile(s.promotions) // absent: it did not end yet
		for line := range strings.Lines(string(text)) {
			var begin, end int64
			var status int
			if _, err := fmt.Sscanf(line, "%d %d %d\n", &begin, &end, &status); err != nil {
				return false // it is being written
			}
			p = promotion{time.Unix(0, begin), time.Unix(0, end)}
			if p.begin.Before(s.began) {
				continue
			}
			if status != 0 {
				s.t.Fatalf("await-fence: exit status %d after %v; want 0", status, p.end.Sub(p.begin))
			}
			return true
		}
		return false
	})
	_, err := s.AwaitLeader(s.ctx, s.new)
	s.must(err)
	return p
}

// served waits until the new primary has acknowledged rows through instance b, and a
// while more.
func (s *deposal) served(p promotion) {
	s.t.Helper()
	eventually(s.t, "rows of "+s.new.Name+" through b", func() bool {
		return slices.ContainsFunc(s.through[s.b].Acked(p.end), func(r rows.Row) bool { return r.By == s.new.Port() })
	})
	time.Sleep(aftermath)
}
