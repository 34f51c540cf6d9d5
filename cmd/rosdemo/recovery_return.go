package main

import (
	"context"
	"fmt"
	"time"
)

// rebuildOne is the fifth act.
func (r *recovery) rebuildOne(ctx context.Context) error {
	if err := r.act(ctx, "5. dc1 is rebuilt from dc2's backups, and made the active one again",
		"A planned change: everybody can be reached. The label is paused, so that the last backup has",
		"everything, and nothing is lost."); err != nil {
		return err
	}
	began := time.Now()
	over := r.one.master().status(ctx)["history"]
	r.one.stopWorkers()
	if err := r.one.backUp(r.dir, r.one.disk("dc2.backup"), r.two); err != nil {
		return err
	}
	if err := r.one.startWorkers(r.dir, "--restore", r.one.backups.file, "--restore-over", over, "--warm-spare"); err != nil {
		return err
	}
	err := r.await(ctx, "a warm spare in dc1", func() bool {
		return r.one.settled(ctx) && r.one.master().status(ctx)["pristine"] == "true" && r.one.master().records(ctx) > 0
	})
	if err != nil {
		return err
	}
	warm := r.one.master()
	r.scr.event(time.Since(began), "worker %s is master in dc1 again: what it had is gone, and it has %s of dc2's backup", warm.id, plural(warm.records(ctx), "record"))
	return nil
}

// giveBack ends the fifth act.
func (r *recovery) giveBack(ctx context.Context) error {
	r.ledger.longestWait()
	// Live connections end by themselves, for these clients do not stay: nobody sees an error.
	status, err := r.operate(ctx, r.two, "pause", "--admin", r.two.proxy.admin, "--label", r.consul.label, "--for", "60s", "--wait", "15s")
	if err == nil && status != 0 {
		err = fmt.Errorf("pause: exit status %d", status)
	}
	if err != nil {
		return err
	}
	began := time.Now()
	source, warm := r.two.master(), r.one.master()
	if err := r.await(ctx, "dc1 to have all that dc2 has", func() bool {
		n := source.records(ctx)
		return n >= 0 && warm.records(ctx) == n
	}); err != nil {
		return err
	}
	r.scr.event(time.Since(began), "the next backup is the last one: dc1 has all %s", plural(warm.records(ctx), "record"))
	if err := r.activate(ctx, r.one); err != nil {
		return err
	}
	r.plannedWait = r.ledger.longestWait()
	if err := r.await(ctx, "A and B to be ready", func() bool { return r.one.proxy.ready.Load() && r.two.proxy.ready.Load() }); err != nil {
		return err
	}
	if err := r.countStale("worker "+source.id, source.addr); err != nil {
		return err
	}
	return pause(ctx, calm)
}

// summary verifies what dc1 holds against what the clients were told, prints the
// sums, and reports whether they are as they must be.
func (r *recovery) summary(ctx context.Context) (passed bool, err error) {
	acks := r.book.all()
	master := r.one.master()
	if master == nil {
		return false, fmt.Errorf("verify: there is no master in dc1")
	}
	for _, w := range r.one.workers {
		if id := master.status(ctx)["in-sync"]; w != master && w.id != id {
			continue // the spare may be a moment behind
		}
		held, err := w.dump(ctx)
		if err != nil {
			return false, err
		}
		r.loss.judge(missing(acks, held), "", time.Time{})
	}
	r.scr.print("\n" + r.scr.paint(bold, "Summary"))
	r.line("records acknowledged", len(acks), "each looked for on dc1's master and slave in the end")
	r.line("records since the last backup", len(r.loss.byDesign), "acknowledged by dc1, and lost with it: a backup is one of a moment")
	r.scr.print(fmt.Sprintf("  %-30s %8s", "longest wait, dc1 lost", clock(r.forcedWait)))
	r.scr.print(fmt.Sprintf("  %-30s %8s", "longest wait, dc1 back", clock(r.plannedWait)))
	return r.verdict("PASSED: a data centre was lost, and what came after its last backup; nothing else.",
		r.zero("other records lost", len(r.loss.other)),
		r.zero("acknowledged by two centres", r.book.byTwo()+r.probed),
		r.zero("stale connections", r.staleSockets),
	), nil
}
