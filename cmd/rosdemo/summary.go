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
	zeros := []bool{
		d.zero("acknowledged records lost", lost),
		d.zero("stale connections", stale),
		d.zero("broken by the upgrade", d.upgradeBroke),
	}
	for _, ok := range zeros {
		if !ok {
			d.scr.print("\n" + d.scr.paint(red, "FAILED: what must be 0 is not."))
			return false, nil
		}
	}
	d.scr.print("\n" + d.scr.paint(green, "PASSED: two masters lost, nothing else."))
	return true, nil
}

func (d *demo) line(name string, n int, format string, args ...any) {
	d.scr.print(fmt.Sprintf("  %-30s %8s   ", name, thousands(n)) + d.scr.paint(dim, fmt.Sprintf(format, args...)))
}

// zero prints a number that must be 0, and reports whether it is.
func (d *demo) zero(name string, n int) bool {
	color := green
	if n != 0 {
		color = red
	}
	d.scr.print(fmt.Sprintf("  %-30s ", name) + d.scr.paint(color, fmt.Sprintf("%8s", thousands(n))))
	return n == 0
}
