package main

import (
	"os"
	"testing"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/api"
	"github.com/rosproxy/rosproxy/discovery/consultest"
)

func TestStuckReaderOfTheLogHoldsUpNothing(t *testing.T) {
	one, two := startWorker(t, "one"), startWorker(t, "two")
	consul := startConsul(t)
	consul.Register(one.service("role=master", "label=default"))
	p := startProgram(t, "--consul-addr="+consul.Addr)
	address := p.label().Listen
	const clients = 20
	func() {
		p.log.mu.Lock() // whoever writes a line waits from here on
		defer p.log.mu.Unlock()
		for range clients {
			c := dialProxy(t, address)
			c.greetedBy(one)
			c.Close()
		}
		consul.Txn(func(tx *consultest.Tx) {
			tx.Deregister(one.name)
			tx.Register(two.service("role=master", "label=default"))
		})
		eventually(t, "the new master", func() bool {
			l := p.label()
			return l.Master != nil && l.Master.ServiceID == two.name
		})
		dialProxy(t, address).greetedBy(two)
	}()
	eventually(t, "the lines that had to wait", func() bool {
		return len(p.log.lines(t, "connection closed")) >= clients && len(p.log.lines(t, "failover")) == 1
	})
}

// TestReaderOfTheLogThatGoesAwayEndsNothing: a write to a pipe that nobody reads is
// the end of most programs, by SIGPIPE.
func TestReaderOfTheLogThatGoesAwayEndsNothing(t *testing.T) {
	w := startWorker(t, "one")
	g := prepareGenerations(t)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer write.Close()
	read.Close()
	c := g.command("--static-master=" + w.l.Addr().String())
	c.Stderr = write
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	g.cmd, g.first = c, c.Process.Pid
	for range 3 { // each is lines in the log
		s := g.awaitStatus("its endpoints", func(s api.Status) bool { return s.PID == g.first })
		client := dialProxy(t, s.Labels[0].Listen)
		client.greetedBy(w)
		client.Close()
	}
}
