package main

import (
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/consultest/realconsul"
)

// register puts a worker into a real Consul.
func register(t *testing.T, agent *realconsul.Agent, w *worker, tags ...string) {
	t.Helper()
	err := agent.Client().Agent().ServiceRegister(&api.AgentServiceRegistration{
		ID: w.name, Name: "sync", Address: "127.0.0.1", Port: w.port(), Tags: tags,
	})
	if err != nil {
		t.Fatalf("register %s: %v", w.name, err)
	}
}

func TestFailoverWithARealConsul(t *testing.T) {
	agent := realconsul.StartDev(t)
	one, two := startWorker(t, "one"), startWorker(t, "two")
	p := startProgram(t, "--consul-addr="+agent.Addr)
	p.awaitReason("no master: default")
	held := p.dial()
	register(t, agent, one, asMaster, inGroup)
	held.greetedBy(one)
	p.awaitReady()

	register(t, agent, two, asSlave, inGroup)
	register(t, agent, one, asSlave, inGroup)
	register(t, agent, two, asMaster, inGroup)
	held.isReset()
	p.connected(two).isAlive()
	p.awaitReady()
}

func TestRestartOfARealConsulCutsNobody(t *testing.T) {
	agent := realconsul.StartDev(t)
	one := startWorker(t, "one")
	register(t, agent, one, asMaster, inGroup)
	p := startProgram(t, "--consul-addr="+agent.Addr)
	p.awaitReady()
	live := p.connected(one)
	before := p.label()

	agent.Restart() // comes back empty, with an index that starts over
	p.awaitReason("no master: default")
	live.isAlive()
	register(t, agent, one, asMaster, inGroup)
	p.awaitReady()
	live.isAlive()
	if after := p.label(); after.Failovers != before.Failovers || after.Master.Epoch != before.Master.Epoch {
		t.Errorf("got %d failovers, epoch %d; want %d, %d", after.Failovers, after.Master.Epoch, before.Failovers, before.Master.Epoch)
	}
}
