package main

import (
	"context"
	"fmt"
	"time"

	"github.com/rosproxy/rosproxy/cmd/internal/patroni"
)

// leaderChange is one change of the leader as the demo watches it.
type leaderChange struct {
	p        *postgres
	began    time.Time
	old, new *patroni.Node

	cuts   []failover // of the instances' logs: from the old leader to nobody
	served time.Time  // the first row that the new primary acknowledged
}

// watchChange follows a change of the leader to its end.
func (p *postgres) watchChange(ctx context.Context, began time.Time, old, next *patroni.Node) (*leaderChange, error) {
	c := &leaderChange{p: p, began: began, old: old, new: next}
	return c, p.follow(ctx, began, []happening{
		{"the key to be lost", c.lostAt, func() string {
			return c.headed("lost", fmt.Sprintf("the session of %s has expired, and with it its key", old))
		}},
		{"rosproxy to cut the clients off", c.cutAt, c.cutText},
		{next.Name + " to be elected", func() time.Time { return p.watch.Held(next, began) }, func() string {
			return c.headed("elected", fmt.Sprintf("%s, the standby until now, has the key", next))
		}},
		{next.Name + " to be promoted", c.promotedAt, func() string {
			return c.headed("promoted", fmt.Sprintf("%s takes writes", next))
		}},
		{"the new primary's first acknowledgement", c.servedAt, func() string {
			return c.headed("served", fmt.Sprintf("first row acknowledged by %s", next))
		}},
	})
}

// headed puts a word for the step before what happened.
func (c *leaderChange) headed(step, text string) string {
	return c.p.scr.paint(bold, fmt.Sprintf("%-9s", step)) + " " + text
}

func (c *leaderChange) lostAt() time.Time     { return c.p.watch.Lost(c.old, c.began) }
func (c *leaderChange) promotedAt() time.Time { return c.p.watch.Promoted(c.new, c.began) }

// cutAt is when the last instance had cut its last connection.
func (c *leaderChange) cutAt() time.Time {
	var cuts []failover
	var last time.Time
	for _, r := range c.p.balancer.all() {
		cut, ok := r.failoverTo("", c.began)
		if !ok {
			return time.Time{}
		}
		cuts = append(cuts, cut)
		if cut.seen.After(last) {
			last = cut.seen
		}
	}
	if c.cuts == nil {
		c.cuts = cuts
		for _, cut := range cuts {
			c.p.cut += cut.Dropped
		}
	}
	return last
}

func (c *leaderChange) cutText() string {
	dropped, slowest := 0, 0.0
	for _, cut := range c.cuts {
		dropped += cut.Dropped
		slowest = max(slowest, cut.CutMS)
	}
	return c.headed("cut", fmt.Sprintf("rosproxy %s: %s to %s cut, in %s at most; the clients that come back are held",
		letters(c.p.balancer.all()), plural(dropped, "connection"), c.old, milliseconds(slowest)))
}

func (c *leaderChange) servedAt() time.Time {
	if !c.served.IsZero() {
		return c.served
	}
	for _, r := range c.p.writers.Acked(c.began) {
		if r.By == c.new.Port() && (c.served.IsZero() || r.Acked.Before(c.served)) {
			c.served = r.Acked
		}
	}
	return c.served
}

// endOfChange waits until all is well again, and looks for what must not be.
func (p *postgres) endOfChange(ctx context.Context, c *leaderChange) error {
	if err := p.await(ctx, "every client to be connected again", p.allConnected); err != nil {
		return err
	}
	if err := p.countStale(c.old.Name, c.old.Address); err != nil {
		return err
	}
	late := 0
	for _, r := range p.writers.Acked(c.lostAt()) {
		if r.By == c.old.Port() {
			late++
		}
	}
	p.scr.note("%s acknowledged by %s after the loss of its key, before the cut", plural(late, "row"), c.old)
	if err := pause(ctx, calm/2); err != nil {
		return err
	}
	p.scr.note("served %s after the promotion; acknowledgements in each 100 ms, from half a second before the loss:", clock(c.served.Sub(c.promotedAt())))
	p.scr.note("%s", p.trace(c.lostAt().Add(-calm/4), time.Now()))
	return nil
}
