package postgresql_test

import (
	"context"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rosproxy/rosproxy/cmd/internal/patroni"
	"github.com/rosproxy/rosproxy/cmd/internal/rows"
	"github.com/rosproxy/rosproxy/cmd/internal/testmain"
	"github.com/rosproxy/rosproxy/discovery/consultest/realconsul"
)

// tier is two nodes, and two instances of rosproxy in front of them, both by the recipe.
type tier struct {
	*patroni.Cluster
	instances []*instance
}

func startTier(t *testing.T) *tier {
	t.Helper()
	consul := realconsul.StartDev(t)
	p, err := patroni.Start(t.Context(), "", consul.Addr, 2)
	if err != nil {
		t.Fatal(err)
	}
	tr := &tier{Cluster: p}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(tr.Said())
		}
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, name := range []string{"left", "right"} {
		tr.instances = append(tr.instances, startInstance(t, name, func(listen string) []string {
			return []string{"--config=" + cook(t, consul.Addr, listen)}
		}))
	}
	return tr
}

// leader waits until both instances have the leader, and gives it and the other one.
func (tr *tier) leader(t *testing.T) (leader, other *patroni.Node) {
	t.Helper()
	leader, err := tr.AwaitLeader(t.Context(), tr.Nodes...)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range tr.instances {
		eventually(t, i.name+" to have the leader", func() bool {
			m := i.label().Master
			return m != nil && m.Address == leader.Address
		})
	}
	if leader == tr.Nodes[0] {
		return leader, tr.Nodes[1]
	}
	return leader, tr.Nodes[0]
}

// pausedSwitchover has an operator switch over while the label is paused.
func (tr *tier) pausedSwitchover(t *testing.T, from, to *patroni.Node, flags ...string) {
	t.Helper()
	args := []string{"pause", "--label=pg"}
	for _, i := range tr.instances {
		args = append(args, "--admin="+i.admin)
	}
	args = append(append(args, flags...), "--")
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	began := time.Now()
	c := exec.CommandContext(ctx, binary, append(args, tr.SwitchoverCommand(from, to)...)...)
	c.Env = testmain.Environment()
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("rosproxy pause: %v\n%s", err, out)
	}
	t.Logf("paused, switched over and resumed in %v", round(time.Since(began)))
	for _, i := range tr.instances {
		if code, body := i.get("/pause"); code != 200 || body != "[]\n" {
			t.Errorf("%s: got %d, %s; want nothing paused", i.name, code, body)
		}
	}
	if err := tr.AwaitHealthy(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestPlannedSwitchoverOfPostgreSQL: by patronictl, while the label is paused.
func TestPlannedSwitchoverOfPostgreSQL(t *testing.T) {
	tr := startTier(t)
	for _, s := range []struct {
		name string
		test func(*testing.T, *tier)
	}{
		{"AConnectionForEachTransaction", shortConnections},
		{"IdleSessions", idleSessions},
	} {
		if !t.Run(s.name, func(t *testing.T) { s.test(t, tr) }) {
			t.FailNow()
		}
	}
}

// shortConnections: not one error, and no row is lost.
func shortConnections(t *testing.T, tr *tier) {
	const atATime = 4
	from, to := tr.leader(t)
	var all []*rows.Writers
	for _, i := range tr.instances {
		if err := rows.Create(t.Context(), from.Address, i.name+"_rows"); err != nil {
			t.Fatal(err)
		}
		w := rows.Start(atATime, i.name+"_rows", rows.Options{Think: think, One: true}, func() string { return i.listen })
		t.Cleanup(w.Stop)
		all = append(all, w)
	}
	began := time.Now()
	time.Sleep(calm)
	tr.pausedSwitchover(t, from, to)
	switched := time.Now()
	for n, i := range tr.instances {
		w := all[n]
		eventually(t, "rows through "+i.name+" at the new primary", func() bool {
			return slices.ContainsFunc(w.Acked(switched), func(r rows.Row) bool { return r.By == to.Port() })
		})
		w.Stop()
		for _, f := range w.Failures(began) {
			t.Errorf("%s: writer %d at %v: %v; want no error at all", i.name, f.Writer, round(f.At.Sub(began)), f.Err)
		}
		lost, err := rows.Lost(t.Context(), to.Address, i.name+"_rows", w.Acked(time.Time{}))
		if err != nil || len(lost) > 0 {
			t.Errorf("%s: got %d acknowledged rows lost, %v; want none", i.name, len(lost), err)
		}
		c := w.Count()
		t.Logf("%s: %d transactions, %d errors, the longest wait %v", i.name, c.Acked, c.Failures, round(c.Longest))
	}
}

// idleSessions: each of them has at most one connection closed, and the
// statement that is under way comes to its end.
func idleSessions(t *testing.T, tr *tier) {
	const sessions = 6
	from, to := tr.leader(t)
	connect := func(i *instance) *pgx.Conn {
		conn, err := pgx.Connect(t.Context(), "postgres://postgres@"+i.listen+"/postgres?sslmode=disable")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
		return conn
	}
	var idle []*pgx.Conn
	for n := range sessions {
		conn := connect(tr.instances[n%2])
		if _, err := conn.Exec(t.Context(), "SELECT 1"); err != nil {
			t.Fatal(err)
		}
		idle = append(idle, conn)
	}
	busy, under := connect(tr.instances[0]), make(chan error, 1)
	go func() {
		_, err := busy.Exec(t.Context(), "SELECT pg_sleep(3)")
		under <- err
	}()
	time.Sleep(time.Second)
	tr.pausedSwitchover(t, from, to, "--close-quiet", "--wait=30s")
	if err := <-under; err != nil {
		t.Errorf("the statement that was under way: %v; want it to come to its end", err)
	}
	for n, conn := range idle {
		if _, err := conn.Exec(t.Context(), "SELECT 1"); err != nil {
			conn = connect(tr.instances[n%2]) // as a pool does
			if _, err := conn.Exec(t.Context(), "SELECT 1"); err != nil {
				t.Errorf("session %d, anew: %v; want one connection closed at most", n, err)
			}
		}
		var port int
		if err := connect(tr.instances[n%2]).QueryRow(t.Context(), "SELECT inet_server_port()").Scan(&port); err != nil || port != to.Port() {
			t.Errorf("session %d: got port %d, %v; want the new primary, %d", n, port, err, to.Port())
		}
	}
}
