package main

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// change is one failover as the demo watches it, from the loss of the old
// master to the first acknowledgement by the next.
type change struct {
	d     *demo
	began time.Time
	old   string // SYNC_ID

	next    string // SYNC_ID; empty: not known yet
	elected time.Time
	line    failover // of the logs of all instances together
	epoch   uint64   // of the next
	reports int      // of instances that have let go
}

// watchFailover follows a failover to its end and returns what rosproxy said of it.
func (d *demo) watchFailover(ctx context.Context, began time.Time, old string) (*change, error) {
	c := &change{d: d, began: began, old: old}
	err := d.follow(ctx, began, []happening{
		{"Consul to miss worker " + old, c.missedAt, c.missedText},
		{"a new master", c.electedAt, c.electedText},
		{"rosproxy to fail over", func() time.Time { return c.cutAt(ctx) }, c.cutText},
		{"the new master to hear that all instances have let go", c.fencedAt, c.fencedText},
		{"the new master's first acknowledgement", c.ackedAt, c.ackedText},
	})
	return c, err
}

func (c *change) missedAt() time.Time {
	role, since := c.d.watch.role(c.old)
	if role == "master" || since.Before(c.began) {
		return time.Time{}
	}
	return since
}

func (c *change) missedText() string {
	return c.headed("detected", fmt.Sprintf("Consul has not heard from worker %s for %v: its session and its lock are void", c.old, checkTTL))
}

// headed puts a word for the step before what happened.
func (c *change) headed(step, text string) string {
	return c.d.scr.paint(bold, fmt.Sprintf("%-9s", step)) + " " + text
}

func (c *change) electedAt() time.Time {
	if id, since := c.d.watch.who("master"); c.next == "" && id != "" && id != c.old {
		c.next, c.elected = id, since
	}
	return c.elected
}

func (c *change) electedText() string {
	return c.headed("elected", fmt.Sprintf("worker %s, the slave until now, is master", c.next))
}

// cutAt is when rosproxy had cut the last connection. From then on every answer
// of an earlier epoch is stale.
func (c *change) cutAt(ctx context.Context) time.Time {
	if c.electedAt().IsZero() || !c.line.seen.IsZero() {
		return c.line.seen
	}
	next := c.d.worker(c.next)
	line, ok := c.d.balancer.failoverTo(next.addr, c.began)
	if !ok {
		return time.Time{}
	}
	epoch, err := strconv.ParseUint(next.status(ctx)["epoch"], 10, 64)
	if err != nil {
		return time.Time{} // asked again
	}
	c.line, c.epoch = line, epoch
	// rosproxy may have heard of the election before this program did.
	if obeyed := line.seen.Add(-time.Duration(line.CutMS * float64(time.Millisecond))); obeyed.Before(c.elected) {
		c.elected = obeyed
	}
	c.d.ledger.fence(epoch, c.old)
	c.d.cut += line.Dropped
	return line.seen
}

func (c *change) cutText() string {
	l := c.line
	return c.headed("cut", fmt.Sprintf("rosproxy: %s to worker %s cut in %s (fence %.0f us),",
		plural(l.Dropped, "connection"), c.old, milliseconds(l.CutMS), l.FenceUS)) +
		fmt.Sprintf("\n%22s%s carried to worker %s", "", plural(l.Carried, "waiting client"), c.next)
}

// fencedAt is when the new master heard that every instance has let go of the old
// one. Logs come a moment after what they tell, so the order of what follows
// from each other is kept here.
func (c *change) fencedAt() time.Time {
	if c.line.seen.IsZero() {
		return time.Time{}
	}
	at, reports := c.d.worker(c.next).fencedIn(c.epoch)
	if at.IsZero() {
		return time.Time{}
	}
	c.reports = reports
	return latest(at, c.line.seen)
}

func (c *change) fencedText() string {
	who := plural(c.reports, "instance") + " have"
	if c.reports == 2 {
		who = "both instances have"
	}
	return c.headed("fenced", fmt.Sprintf("%s let go: no client can reach worker %s any more", who, c.old))
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (c *change) ackedAt() time.Time {
	at, by := c.d.ledger.firstAck()
	fenced := c.fencedAt()
	if by != c.next || at.Before(c.began) || fenced.IsZero() {
		return time.Time{}
	}
	return latest(at, fenced)
}

func (c *change) ackedText() string {
	return c.headed("served", fmt.Sprintf("first record acknowledged by worker %s", c.next))
}
