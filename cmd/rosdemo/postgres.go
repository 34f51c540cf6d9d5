package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/rosproxy/rosproxy/cmd/internal/patroni"
	"github.com/rosproxy/rosproxy/cmd/internal/rows"
)

// postgres is one showing of PostgreSQL under Patroni.
type postgres struct {
	stage
	clients int
	cluster *patroni.Cluster
	watch   *patroni.Watch
	writers *rows.Writers
}

// rowsTable is where the clients write.
const rowsTable = "demo"

// runPostgres shows PostgreSQL under Patroni and reports whether everything
// went as rosproxy promises.
func runPostgres(ctx context.Context, o postgresOptions, scr *screen) (passed bool, err error) {
	if err := patroni.Installed(); err != nil {
		return false, err
	}
	program, err := findProgram("rosproxy")
	if err != nil {
		return false, err
	}
	consulProgram := findConsul()
	if consulProgram == "" {
		return false, errors.New("find consul on PATH or in bin: run make consul, which builds it")
	}
	dir, err := os.MkdirTemp("", "rosdemo-")
	if err == nil {
		err = os.Chmod(dir, 0o711) // the user postgres goes through it
	}
	if err != nil {
		return false, fmt.Errorf("make a directory for logs: %w", err)
	}
	defer func() { endOfLogs(scr, dir, passed && !o.KeepLogs) }()

	introducePostgres(scr, o)
	c, err := devConsul(ctx, consulProgram, dir, scr)
	if err != nil {
		return false, err
	}
	scr.print("Consul: " + scr.paint(bold, c.words) + ".")
	p := &postgres{
		stage: stage{
			scr: scr, dir: dir, program: program, consul: c, balancer: &balancer{}, patience: patroni.TTL + murmurAfter,
			flags: []string{"--leader-key", patroni.LeaderKey, "--leader-format", "patroni", "--hold-timeout", "40s"},
		},
		clients: o.Clients,
	}
	p.cast, p.count = func() []*process { return nil }, p.sums
	defer p.close()
	return p.play(ctx)
}

func introducePostgres(scr *screen, o postgresOptions) {
	scr.print(scr.paint(bold, "What rosproxy is for: PostgreSQL under Patroni"))
	scr.print(fmt.Sprintf(`
Patroni runs beside each PostgreSQL, and they elect a leader: who holds a key in Consul. Only
the leader's PostgreSQL may take writes. rosproxy watches the key. The moment its holder loses
it, rosproxy cuts the clients off, holds them, and connects them to the next leader when that
can serve them.

  %d clients --> balancer --> rosproxy A and B --> primary --> standby    (a row is acknowledged
                                    |               |            |         when both have it:
                                 Consul <------- Patroni      Patroni      synchronous_mode)
`, o.Clients))
}

// play runs the acts, in the background what they need, and the summary.
func (p *postgres) play(ctx context.Context) (passed bool, err error) {
	background, stopBackground := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stopBackground()
	wg.Go(func() { p.balancer.run(background) })

	if err := p.elect(ctx); err != nil {
		return false, err
	}
	wg.Go(func() { p.showLive(background, p.leader) })
	for _, act := range []func(context.Context) error{p.firstWrites, p.killPatroni, p.rejoin, p.freezeNode, p.upgradeToC} {
		if err := act(ctx); err != nil {
			return false, err
		}
	}
	p.writers.Stop()
	stopBackground() // no live line below the summary
	return p.summary(ctx)
}

// close ends every process, and keeps what the nodes have said.
func (p *postgres) close() {
	if p.writers != nil {
		p.writers.Abort()
	}
	for _, r := range p.balancer.all() {
		r.process.expectEnd()
		r.process.kill() //nolint:errcheck // it ends with rosdemo at the latest
	}
	if p.watch != nil {
		p.watch.Close()
	}
	if p.cluster != nil {
		for _, n := range p.cluster.Nodes {
			if text, err := os.ReadFile(n.Log()); err == nil {
				os.WriteFile(filepath.Join(p.dir, n.Name+".log"), text, 0o600) //nolint:errcheck // the log is a courtesy
			}
		}
		p.cluster.Close() //nolint:errcheck // what is left of its files is in a directory for such
	}
	p.consul.close(nil)
}

// sums are the numbers of the live line.
func (p *postgres) sums() count {
	c := p.writers.Count()
	return count{acked: c.Acked, broken: c.Failures, live: c.Live, waiting: c.Waiting, longest: c.Longest}
}

// leader is for the live line.
func (p *postgres) leader() string {
	if n := p.watch.Holder(); n != nil {
		return p.scr.paint(green, n.Name+" has the key")
	}
	return p.scr.paint(red, "nobody has the key")
}

func (p *postgres) allConnected() bool { return p.writers.Count().Live == p.clients }

// nodes are the leader, and the other one.
func (p *postgres) nodes(ctx context.Context) (leader, other *patroni.Node, err error) {
	if leader, err = p.cluster.AwaitLeader(ctx, p.cluster.Nodes...); err != nil {
		return nil, nil, err
	}
	for _, n := range p.cluster.Nodes {
		if n != leader {
			other = n
		}
	}
	return leader, other, nil
}

// trace draws when rows were acknowledged.
func (p *postgres) trace(from, to time.Time) string {
	slots := map[int64]bool{}
	for _, r := range p.writers.Acked(from) {
		slots[slot(r.Acked)] = true
	}
	return drawTrace(slots, from, to)
}

// readOnly counts the clients that came to a standby.
func (p *postgres) readOnly() int {
	n := 0
	for _, f := range p.writers.Failures(time.Time{}) {
		if f.Code == rows.ReadOnly {
			n++
		}
	}
	return n
}

// summary looks for every acknowledged row on each node.
func (p *postgres) summary(ctx context.Context) (passed bool, err error) {
	leader, other, err := p.nodes(ctx)
	if err != nil {
		return false, err
	}
	if err := p.cluster.AwaitHealthy(ctx); err != nil {
		return false, err
	}
	acked := p.writers.Acked(time.Time{})
	lost := 0
	for _, n := range []*patroni.Node{leader, other} {
		missing, err := rows.Lost(ctx, n.Address, rowsTable, acked)
		if err != nil {
			return false, err
		}
		lost = max(lost, len(missing))
	}
	p.scr.print("\n" + p.scr.paint(bold, "Summary"))
	p.line("rows acknowledged", len(acked), "each looked for on %s and %s", leader, other)
	p.line("connections cut", p.cut, "by rosproxy, from a primary that had lost its key")
	p.line("connections ended", p.writers.Count().Failures, "under a client, for any reason: each came back by itself")
	p.scr.print(fmt.Sprintf("  %-30s %8s", "longest wait of a client", clock(p.writers.Count().Longest)))
	return p.verdict("PASSED: two leaders lost, nothing else.",
		p.zero("acknowledged rows lost", lost),
		p.zero("read-only errors", p.readOnly()),
		p.zero("stale connections", p.staleSockets),
		p.zero("broken by the upgrade", p.upgradeBroke),
	), nil
}
