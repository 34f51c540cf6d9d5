package main

import (
	"context"
	"fmt"
)

// summary verifies what the workers hold against what the clients were told,
// prints the sums, and reports whether they are as they must be.
func (d *demo) summary(ctx context.Context) (passed bool, err error) {
	master, _ := d.watch.who("master")
	if master == "" {
		return false, fmt.Errorf("verify: there is no master")
	}
	slave := d.worker(master).status(ctx)["in-sync"]
	lost := 0
	for _, id := range []string{master, slave} {
		if id == "" {
			continue // a master may be alone
		}
		held, err := d.worker(id).dump(ctx)
		if err != nil {
			return false, err
		}
		lost = max(lost, d.ledger.missing(held))
	}

	c := d.ledger.count()
	stale := d.staleSockets + c.stale
	d.scr.print("\n" + d.scr.paint(bold, "Summary"))
	d.line("records acknowledged", c.acked, "each wanted and found on master %s and slave %s", master, slave)
	d.line("connections cut", d.cut, "by rosproxy, from a master that had been replaced")
	d.line("connections died", d.died, "with the master that was killed")
	d.scr.print(fmt.Sprintf("  %-30s %8s", "longest wait of a client", clock(c.longest)))
	return d.verdict("PASSED: two masters lost, nothing else.",
		d.zero("acknowledged records lost", lost),
		d.zero("stale connections", stale),
		d.zero("broken by the upgrade", d.upgradeBroke),
	), nil
}
