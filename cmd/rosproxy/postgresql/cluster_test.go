package postgresql_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/cmd/internal/patroni"
	"github.com/rosproxy/rosproxy/cmd/internal/rows"
	"github.com/rosproxy/rosproxy/discovery/consultest/realconsul"
)

// recipe is the configuration that testdata/README.md shows.
const recipe = "../../../testdata/config/patroni.yaml"

const (
	writers = 8
	think   = 5 * time.Millisecond // of a writer, between two rows
	calm    = time.Second          // of writing before anything happens
)

// cluster is two nodes, and two instances of rosproxy in front of them.
type cluster struct {
	*patroni.Cluster
	watch        *patroni.Watch
	byKey, byTag *instance // by the recipe; as one would without leader keys, to compare

	cuts, serves []time.Duration // of byKey: see outcome
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	consul := realconsul.StartDev(t)
	p, err := patroni.Start(t.Context(), "", consul.Addr, 2)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{Cluster: p}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.Said())
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	c.watch = p.Watch()
	t.Cleanup(c.watch.Close)
	c.byKey = startInstance(t, "by-key", func(listen string) []string { return []string{"--config=" + cook(t, consul.Addr, listen)} })
	c.byTag = startInstance(t, "by-tag", func(listen string) []string {
		return []string{"--consul-addr=" + consul.Addr, "--listen=" + listen, "--service=" + patroni.Scope, "--tag=primary", "--hold-timeout=40s"}
	})
	return c
}

// cook writes the recipe with other addresses, and nothing else changed.
func cook(t *testing.T, consul, listen string) (file string) {
	t.Helper()
	text, err := os.ReadFile(recipe)
	if err != nil {
		t.Fatal(err)
	}
	cooked := string(text)
	for from, to := range map[string]string{`"127.0.0.1:8500"`: consul, `":5432"`: listen} {
		if strings.Count(cooked, from) != 1 {
			t.Fatalf("%s: want %s in it, once", recipe, from)
		}
		cooked = strings.Replace(cooked, from, to, 1)
	}
	file = filepath.Join(t.TempDir(), filepath.Base(recipe))
	if err := os.WriteFile(file, []byte(cooked), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// scenario is one change of the leader under the writers' eyes.
type scenario struct {
	*cluster
	t        *testing.T
	ctx      context.Context
	old, new *patroni.Node
	writers  map[*instance]*rows.Writers
	began    time.Time // when the leader was taken away
}

// table is where the writers through an instance write.
func table(i *instance) string {
	if i.name == "by-key" {
		return "by_key"
	}
	return "by_tag"
}

// begin makes the tables anew and starts writers through both instances.
func (c *cluster) begin(t *testing.T) *scenario {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*testTimeout)
	t.Cleanup(cancel)
	s := &scenario{cluster: c, t: t, ctx: ctx, writers: map[*instance]*rows.Writers{}}
	leader, err := c.AwaitLeader(ctx, c.Nodes...)
	s.must(err)
	s.old = leader
	for _, n := range c.Nodes {
		if n != leader {
			s.new = n
		}
	}
	for _, i := range []*instance{c.byKey, c.byTag} {
		s.must(rows.Create(ctx, leader.Address, table(i)))
		eventually(t, i.name+" to have the leader", func() bool {
			m := i.label().Master
			return m != nil && m.Address == leader.Address
		})
		w := rows.Start(writers, table(i), rows.Options{Think: think}, func() string { return i.listen })
		t.Cleanup(w.Stop)
		s.writers[i] = w
	}
	time.Sleep(calm)
	for i, w := range s.writers {
		eventually(t, "all writers through "+i.name+" to write", func() bool { return w.Count().Live == writers })
	}
	s.began = time.Now()
	return s
}

func (s *scenario) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// served waits until a node has acknowledged a row through an instance, and says when.
func (s *scenario) served(i *instance, by *patroni.Node) (at time.Time) {
	s.t.Helper()
	eventually(s.t, "a row through "+i.name+" that "+by.Name+" has acknowledged", func() bool {
		for _, r := range s.writers[i].Acked(s.began) {
			if r.By == by.Port() && (at.IsZero() || r.Acked.Before(at)) {
				at = r.Acked
			}
		}
		return !at.IsZero()
	})
	return at
}

// happened waits until the watch has seen it, and says when.
func (s *scenario) happened(what string, seen func() time.Time) (at time.Time) {
	s.t.Helper()
	eventually(s.t, what, func() bool {
		at = seen()
		return !at.IsZero()
	})
	return at
}
