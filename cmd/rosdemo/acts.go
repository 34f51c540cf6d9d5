package main

import (
	"context"
	"time"
)

// elect is the first act: three workers come up, and rosproxy in front of them.
func (d *demo) elect(ctx context.Context) error {
	if err := d.act(ctx, "1. Three sync workers elect a master",
		"Who gets the lock in Consul is master. They register as the service sync with the tags",
		"role=master, role=slave and role=spare: that is all that rosproxy looks at."); err != nil {
		return err
	}
	began := time.Now()
	for _, w := range d.workers {
		if err := w.start(d.consul, d.dir); err != nil {
			return err
		}
	}
	err := d.await(ctx, "a master, a slave in sync and a spare", func() bool {
		master, _ := d.watch.who("master")
		slave, _ := d.watch.who("slave")
		spare, _ := d.watch.who("spare")
		return master != "" && slave != "" && spare != "" && d.worker(master).status(ctx)["in-sync"] == slave
	})
	if err != nil {
		return err
	}
	for _, w := range d.workers {
		role, _ := d.watch.role(w.id)
		d.scr.note("worker %s at %s: %s", w.id, w.addr, role)
	}
	d.scr.event(time.Since(began), "the roles are settled, and each record will be on master and slave")
	for _, name := range []string{"rosproxy A", "rosproxy B"} {
		r, err := d.startRosproxy(ctx, name)
		if err != nil {
			return err
		}
		d.scr.event(time.Since(began), "%s listens on %s, has found the master and is ready", name, r.listen)
	}
	return nil
}

// firstWrites ends the first act: the clients have come.
func (d *demo) firstWrites(ctx context.Context) error {
	began := time.Now()
	if err := d.await(ctx, "every client to be connected", d.allConnected); err != nil {
		return err
	}
	d.scr.note("%s begin to write numbered records, to rosproxy, never to a worker", plural(d.clients, "client"))
	if err := pause(ctx, calm); err != nil {
		return err
	}
	master, _ := d.watch.who("master")
	d.scr.note("after %s: %s acknowledged by worker %s; slave %s has every one of them", clock(time.Since(began)),
		plural(d.ledger.count().acked, "record"), master, d.worker(master).status(ctx)["in-sync"])
	return nil
}

func (d *demo) allConnected() bool { return d.ledger.count().live == d.clients }

// killMaster is the second act.
func (d *demo) killMaster(ctx context.Context) error {
	if err := d.act(ctx, "2. The master is killed",
		"Its connections end with it. Clients that come back are held by rosproxy, and wait, until there",
		"is a master: the slave, which has every acknowledged record. The spare becomes the slave."); err != nil {
		return err
	}
	old, _ := d.watch.who("master")
	broken := d.ledger.count().broken
	began := time.Now()
	if err := d.worker(old).kill(); err != nil {
		return err
	}
	d.scr.event(0, "%s to worker %s, the master", d.scr.paint(red, "SIGKILL"), old)
	c, err := d.watchFailover(ctx, began, old)
	if err != nil {
		return err
	}
	died := max(0, d.ledger.count().broken-broken-c.line.Dropped)
	d.died += died
	d.scr.note("%s had ended with the killed process; their clients came back and were held", plural(died, "connection"))
	return d.endOfFailover(ctx, c)
}

// endOfFailover waits until all is well again, and looks for stale connections.
func (d *demo) endOfFailover(ctx context.Context, c *change) error {
	if err := d.await(ctx, "every client to be connected again", d.allConnected); err != nil {
		return err
	}
	if err := d.countStale("worker "+c.old, d.worker(c.old).addr); err != nil {
		return err
	}
	if err := pause(ctx, calm/2); err != nil {
		return err
	}
	d.scr.note("rosproxy was done %s after Consul named the new master; acknowledgements in each 100 ms:",
		clock(c.line.seen.Sub(c.elected)))
	d.scr.note("%s", d.ledger.trace(c.began.Add(-calm/4), time.Now()))
	return nil
}

// rejoin is the third act.
func (d *demo) rejoin(ctx context.Context) error {
	old := d.missing()
	if err := d.act(ctx, "3. The killed worker is redeployed",
		"Under its old SYNC_ID it joins its group again, as the spare. It is empty: before it has a",
		"complete copy it can be neither slave nor master."); err != nil {
		return err
	}
	began := time.Now()
	if err := old.start(d.consul, d.dir); err != nil {
		return err
	}
	return d.awaitFilled(ctx, began, old, "is back")
}

// missing is the worker that has no role.
func (d *demo) missing() *worker {
	for _, w := range d.workers {
		if role, _ := d.watch.role(w.id); role == "" {
			return w
		}
	}
	return d.workers[0] // not reached after a kill
}

// awaitFilled waits until w is the spare and has a complete copy.
func (d *demo) awaitFilled(ctx context.Context, began time.Time, w *worker, what string) error {
	var since time.Time
	err := d.await(ctx, "worker "+w.id+" to be the spare", func() bool {
		role, at := d.watch.role(w.id)
		since = at
		return role == "spare"
	})
	if err != nil {
		return err
	}
	d.scr.event(since.Sub(began), "worker %s %s and registers as %s", w.id, what, d.scr.paint(bold, "spare"))
	records := ""
	err = d.await(ctx, "worker "+w.id+" to have a complete copy", func() bool {
		s := w.status(ctx)
		records = s["records"]
		return s["complete"] == "true"
	})
	if err != nil {
		return err
	}
	d.scr.event(time.Since(began), "worker %s has a complete copy of %s records, and follows", w.id, records)
	return pause(ctx, calm/2)
}

// freezeMaster is the fourth act.
func (d *demo) freezeMaster(ctx context.Context) error {
	if err := d.act(ctx, "4. The master hangs",
		"Worse than death: its connections stay open, and nothing tells its clients that it has been",
		"replaced. Cutting them off is what rosproxy is for."); err != nil {
		return err
	}
	old, _ := d.watch.who("master")
	open := 0
	for _, r := range d.balancer.all() {
		n, err := openSockets(r.process.pid(), d.worker(old).addr)
		if err != nil {
			return err
		}
		open += n
	}
	began := time.Now()
	if err := d.worker(old).freeze(); err != nil {
		return err
	}
	d.scr.event(0, "%s to worker %s, the master: %s from rosproxy stay open to it",
		d.scr.paint(red, "SIGSTOP"), old, plural(open, "connection"))
	c, err := d.watchFailover(ctx, began, old)
	if err != nil {
		return err
	}
	if err := d.endOfFailover(ctx, c); err != nil {
		return err
	}
	if err := d.worker(old).thaw(); err != nil {
		return err
	}
	d.scr.event(time.Since(began), "SIGCONT: worker %s wakes up as the master it was, and finds its lease lapsed", old)
	if err := d.awaitFilled(ctx, began, d.worker(old), "gives up"); err != nil {
		return err
	}
	return d.countStale("worker "+old, d.worker(old).addr)
}

// upgradeToC is the fifth act.
func (d *demo) upgradeToC(ctx context.Context) error { return d.upgrade(ctx, 5, "C") }
