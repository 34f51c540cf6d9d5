package main

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

func startThree(c *cluster) (master, slave, spare string) {
	for _, id := range []string{"1", "2", "3"} {
		c.start(id)
	}
	return c.who()
}

func TestKilledMasterIsReplacedByTheSlaveAndComesBackAsSpare(t *testing.T) {
	onEveryConsul(t, func(t *testing.T, c *cluster) {
		master, slave, spare := startThree(c)
		c.write(master, 1, 100)
		c.wantRecords(slave, 100)
		c.kill(master)
		c.wantRoles(map[string]string{slave: "master", spare: "slave"})
		c.write(slave, 101, 200) // acknowledged by a master that has a slave again
		c.wantRecords(spare, 200)
		c.start(master)
		c.wantRoles(map[string]string{slave: "master", spare: "slave", master: "spare"})
		eventually(t, "the spare is filled", func() bool { return len(c.holds(master)) == 200 })
		c.wantRecords(slave, 200)
	})
}

func TestFrozenMasterAcknowledgesNothingWhenItThaws(t *testing.T) {
	onEveryConsul(t, func(t *testing.T, c *cluster) {
		master, slave, spare := startThree(c)
		c.write(master, 1, 10)
		stale := dial(t, c.addrs[master])
		c.freeze(master)
		stale.conn.Write([]byte("PUT stale 1\n"))
		c.wantRoles(map[string]string{slave: "master", spare: "slave"})
		c.signal(master, syscall.SIGCONT)
		stale.conn.SetDeadline(time.Now().Add(testTimeout))
		if got := readString(t, stale.in); !strings.HasPrefix(got, "ERR ") {
			t.Errorf("write to the thawed master got %q; want ERR", got)
		}
		c.wantRoles(map[string]string{slave: "master", spare: "slave", master: "spare"})
		c.write(slave, 11, 20)
		eventually(t, "the thawed worker follows", func() bool { return len(c.holds(master)) == 20 })
		if c.holds(slave)["stale 1"] {
			t.Error("the new master holds a record that only the old one was sent")
		}
	})
}

func TestMasterRestartedAtOnceGivesUpItsLock(t *testing.T) {
	onEveryConsul(t, func(t *testing.T, c *cluster) {
		// A TTL of minutes: the dead run's check does not fail by itself.
		for _, id := range []string{"1", "2", "3"} {
			c.start(id, "--check-ttl=5m")
		}
		master, slave, _ := c.who()
		c.write(master, 1, 10)
		c.kill(master)
		c.start(master, "--check-ttl=5m")
		eventually(t, "the slave is master", func() bool { return c.roles()[slave] == "master" })
		c.who() // the other two are slave and spare, in either order
		c.wantRecords(slave, 10)
	})
}

func TestStoppedMasterHandsOverAtOnce(t *testing.T) {
	onEveryConsul(t, func(t *testing.T, c *cluster) {
		// A TTL of minutes: nothing here may depend on a check that fails.
		for _, id := range []string{"1", "2", "3"} {
			c.start(id, "--check-ttl=5m")
		}
		master, slave, spare := c.who()
		c.write(master, 1, 10)
		c.stop(master)
		c.wantRoles(map[string]string{slave: "master", spare: "slave"})
		c.write(slave, 11, 20)
		c.stop(spare) // the slave now
		c.stop(slave)
		c.wantRoles(map[string]string{})
	})
}

func TestIncompleteCopyNeverBecomesMaster(t *testing.T) {
	onEveryConsul(t, func(t *testing.T, c *cluster) {
		master, slave, spare := startThree(c)
		c.write(master, 1, 10)
		// The slave is restarted, empty, while the master is gone: its SYNC_ID
		// is in the set, its run is not.
		c.kill(master)
		c.kill(slave)
		c.start(slave)
		eventually(t, "the master's lock is free", func() bool {
			_, passing := c.roles()[master]
			return len(c.roles()) == 2 && !passing
		})
		for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			for id, role := range c.roles() {
				if role == "master" {
					t.Fatalf("worker %s became master; want none: no complete copy is left", id)
				}
			}
		}
		if got := dial(t, c.addrs[spare]).ask("PUT c 11"); !strings.HasPrefix(got, "ERR ") {
			t.Errorf("write without a master got %q; want ERR", got)
		}
	})
}

func TestWorkerAloneServesAfterAWhile(t *testing.T) {
	onEveryConsul(t, func(t *testing.T, c *cluster) {
		c.start("1", "--alone-after=200ms")
		c.wantRoles(map[string]string{"1": "master"})
		c.write("1", 1, 10)
		c.start("2")
		eventually(t, "the second worker is in sync", func() bool { return c.inSync("1", "2") })
		c.kill("1")
		c.wantRoles(map[string]string{"2": "master"})
		c.wantRecords("2", 10)
	})
}
