package main

import (
	"context"
	"fmt"
	"time"

	"github.com/rosproxy/rosproxy/cmd/internal/patroni"
	"github.com/rosproxy/rosproxy/cmd/internal/rows"
)

// elect is the first act: two nodes come up, and two instances in front of them.
func (p *postgres) elect(ctx context.Context) error {
	if err := p.act(ctx, "1. Two nodes elect a leader",
		"Patroni makes a database on the first node and a copy of it on the second, registers both in",
		"Consul, and keeps the leader's key for as long as it is well."); err != nil {
		return err
	}
	began := time.Now()
	var err error
	if p.cluster, err = patroni.Start(ctx, p.dir, p.consul.addr, 2); err != nil {
		return err
	}
	if err := p.cluster.SetSynchronous(ctx, true); err != nil {
		return err
	}
	p.watch = p.cluster.Watch()
	leader, other, err := p.nodes(ctx)
	if err != nil {
		return err
	}
	if err := rows.Create(ctx, leader.Address, rowsTable); err != nil {
		return err
	}
	p.scr.note("%s at %s: primary; it has the key %s", leader, leader.Address, patroni.LeaderKey)
	p.scr.note("%s at %s: standby, synchronous", other, other.Address)
	p.scr.event(time.Since(began), "the cluster is up")
	for _, name := range []string{"rosproxy A", "rosproxy B"} {
		r, err := p.startRosproxy(ctx, name)
		if err != nil {
			return err
		}
		p.scr.event(time.Since(began), "%s listens on %s, has found the leader and is ready", name, r.listen)
	}
	p.writers = rows.Start(p.clients, rowsTable, rows.Options{Think: thinkTime, Stay: longestVisit}, func() string { return p.balancer.pick().listen })
	return nil
}

// firstWrites ends the first act: the clients have come.
func (p *postgres) firstWrites(ctx context.Context) error {
	began := time.Now()
	if err := p.await(ctx, "every client to be connected", p.allConnected); err != nil {
		return err
	}
	p.scr.note("%s begin to write numbered rows, to rosproxy, never to a node", plural(p.clients, "client"))
	if err := pause(ctx, calm); err != nil {
		return err
	}
	p.scr.note("after %s: %s acknowledged", clock(time.Since(began)), plural(p.writers.Count().Acked, "row"))
	return nil
}

// killPatroni is the second act.
func (p *postgres) killPatroni(ctx context.Context) error {
	leader, other, err := p.nodes(ctx)
	if err != nil {
		return err
	}
	if err := p.act(ctx, "2. The leader's Patroni is killed, and its PostgreSQL goes on",
		"For now that is in order: the key is still its own, and nobody else can be promoted. It expires",
		fmt.Sprintf("at most %v after it was last renewed, and from then on no row may be written there: PostgreSQL", patroni.TTL),
		"would not know. Who follows Consul's tags hears of it a second too late."); err != nil {
		return err
	}
	began := time.Now()
	if err := leader.KillPatroni(); err != nil {
		return err
	}
	p.scr.event(0, "%s to the Patroni of %s, the leader", p.scr.paint(red, "SIGKILL"), leader)
	c, err := p.watchChange(ctx, began, leader, other)
	if err != nil {
		return err
	}
	return p.endOfChange(ctx, c)
}

// rejoin is the third act.
func (p *postgres) rejoin(ctx context.Context) error {
	_, old, err := p.nodes(ctx)
	if err != nil {
		return err
	}
	if err := p.act(ctx, "3. Patroni is started again",
		"It finds a PostgreSQL that runs as a primary without the key, stops it, rewinds it to where",
		"the new primary's history began, and makes it a standby."); err != nil {
		return err
	}
	began := time.Now()
	if err := old.Start(); err != nil {
		return err
	}
	return p.awaitStandby(ctx, began, old, "is back")
}

// awaitStandby waits until a node is the synchronous standby again.
func (p *postgres) awaitStandby(ctx context.Context, began time.Time, n *patroni.Node, what string) error {
	if err := n.AwaitStandby(ctx); err != nil {
		return err
	}
	p.scr.event(time.Since(began), "%s %s and follows as %s", n, what, p.scr.paint(bold, "standby"))
	if err := p.cluster.AwaitSynchronous(ctx, true); err != nil {
		return err
	}
	p.scr.event(time.Since(began), "rows are acknowledged when both have them, as before")
	return pause(ctx, calm/2)
}

// freezeNode is the fourth act.
func (p *postgres) freezeNode(ctx context.Context) error {
	leader, other, err := p.nodes(ctx)
	if err != nil {
		return err
	}
	if err := p.act(ctx, "4. The leader's node hangs",
		"Worse than death: its connections stay open, and nothing tells its clients that it has been",
		"replaced. When it wakes up, it is a primary for a moment more."); err != nil {
		return err
	}
	began := time.Now()
	if err := leader.Freeze(); err != nil {
		return err
	}
	p.scr.event(0, "%s to every process of %s, the leader", p.scr.paint(red, "SIGSTOP"), leader)
	c, err := p.watchChange(ctx, began, leader, other)
	if err != nil {
		return err
	}
	if err := p.endOfChange(ctx, c); err != nil {
		return err
	}
	if err := leader.Thaw(); err != nil {
		return err
	}
	p.scr.event(time.Since(began), "SIGCONT: %s wakes up as the primary it was, and Patroni finds its key lost", leader)
	if err := p.awaitStandby(ctx, began, leader, "gives up"); err != nil {
		return err
	}
	return p.countStale(leader.Name, leader.Address)
}

// upgradeToC is the fifth act.
func (p *postgres) upgradeToC(ctx context.Context) error { return p.upgrade(ctx, 5, "C") }
