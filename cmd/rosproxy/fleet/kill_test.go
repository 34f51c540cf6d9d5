package fleet_test

import (
	"syscall"
	"testing"
	"time"
)

// TestKilledInstanceTakesOnlyItsOwnAlong: whose connection went through it
// loses that. Everybody who connects afterwards is served, since the balancer
// tries the next instance where one refuses.
func TestKilledInstanceTakesOnlyItsOwnAlong(t *testing.T) {
	t.Parallel()
	eachBalancer(t, func(t *testing.T, balancer string) {
		f := newFleet(t, balancer)
		mine, others := f.through(f.a)
		begun := time.Now()
		if err := syscall.Kill(f.a.process().PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		select {
		case <-f.a.process().Empty():
		case <-time.After(testTimeout):
			t.Fatalf("a is still there %v after SIGKILL", testTimeout)
		}
		gone := time.Now()
		f.awaitOver(mine)
		f.traffic.flows("after a was killed")
		if f.haproxy != nil {
			f.haproxy.await("a", "DOWN")
		}
		f.a.start()
		f.awaitServing(f.a)
		f.wantUntouched("by the end of a", others)
		f.wantFailed("none but those that were live when a was killed", func(r request) bool {
			return r.begun.Before(gone) && r.ended.After(begun)
		})
	})
}
