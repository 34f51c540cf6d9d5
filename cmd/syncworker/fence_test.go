package main

import (
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/fence"
)

func TestNothingIsAcknowledgedBeforeTheProxiesHaveLetGo(t *testing.T) {
	a := &fakeArbiter{}
	tm := startTerm(t, a, 0)
	tm.fenced = make(chan struct{})
	admitted(t, tm, a, slaveA)
	f := &follower{member: slaveA}
	tm.join(f, true)
	done := put(tm, 1)
	eventually(t, "the slave has it", func() bool { tm.ack(f, tm.store.size()); return tm.store.size() == 1 })
	wantPending(t, done)
	close(tm.fenced)
	eventually(t, "the slave is asked again", func() bool { tm.ack(f, tm.store.size()); return len(done) == 1 })
	wantAcknowledged(t, done)
}

func TestTermThatEndsBeforeTheProxiesHaveLetGoRefuses(t *testing.T) {
	a := &fakeArbiter{}
	tm := startTerm(t, a, time.Millisecond)
	tm.fenced = make(chan struct{})
	done := put(tm, 1)
	wantPending(t, done)
	tm.close()
	wantRefused(t, done)
}

// TestNewMasterWaitsForTheReportsOfProxies: for those of its label that are
// behind, and not for those of others.
func TestNewMasterWaitsForTheReportsOfProxies(t *testing.T) {
	onEveryConsul(t, func(t *testing.T, c *cluster) {
		const prefix = "rosproxy/fence"
		beat := uint64(0)
		report := func(name, label string, obeyed uint64) {
			t.Helper()
			beat++
			e := fence.Entry{Instance: name, PID: 7, TTL: 60, Beat: beat, Labels: map[string]fence.State{label: {Obeyed: obeyed}}}
			if _, err := c.api.KV().Put(&api.KVPair{Key: prefix + "/" + name, Value: e.Encode()}, nil); err != nil {
				t.Fatal(err)
			}
		}
		report("other", "blue", 0)
		for _, id := range []string{"1", "2", "3"} {
			c.start(id, "--fence-report="+prefix)
		}
		master, slave, _ := c.who()
		c.write(master, 1, 10) // nobody reports for this label
		report("p1", "red", 1)
		c.write(master, 11, 20) // it is waited for at an election alone
		c.kill(master)
		eventually(t, "the slave is master", func() bool { return c.roles()[slave] == "master" })
		conn := dial(t, c.addrs[slave])
		answer := make(chan string, 1)
		go func() { answer <- conn.ask("PUT c 21") }()
		select {
		case got := <-answer:
			t.Fatalf("PUT to the new master got %q while a proxy is behind; want it to wait", got)
		case <-time.After(2 * time.Second):
		}
		report("p1", "red", 1<<40)
		if got, want := <-answer, "OK 21 "+slave+" "; len(got) < len(want) || got[:len(want)] != want {
			t.Errorf("PUT got %q; want %q once the proxy has obeyed", got, want)
		}
		c.wantRecords(slave, 21)
	})
}
