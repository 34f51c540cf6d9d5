package main

import (
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/api"
	"github.com/rosproxy/rosproxy/discovery/consultest"
)

// The situations that the program is made for, each with real sockets and a
// double of Consul: what becomes of live and of new connections, what
// /readyz says, and as what it is seen.

const (
	asMaster = "role=master"
	asSlave  = "role=slave"
	inGroup  = "label=default"
)

// follows starts Consul with one master and rosproxy following it.
func follows(t *testing.T, args ...string) (*consultest.Server, *worker, *running) {
	t.Helper()
	consul := startConsul(t)
	one := startWorker(t, "one")
	consul.Register(one.service(asMaster, inGroup))
	p := startProgram(t, append([]string{"--consul-addr=" + consul.Addr}, args...)...)
	p.awaitReady()
	return consul, one, p
}

func TestNewMasterResetsLiveConnectionsAndTakesNewOnes(t *testing.T) {
	consul, one, p := follows(t)
	live := p.connected(one)
	before := p.label().Master
	two := startWorker(t, "two")
	consul.Register(two.service(asSlave, inGroup))
	consul.SetTags("one", asSlave, inGroup)
	consul.SetTags("two", asMaster, inGroup)

	live.isReset()
	p.awaitReady()
	p.connected(two).isAlive()
	l := p.label()
	if l.Master == nil || l.Master.Address != two.l.Addr().String() || l.Master.ServiceID != "two" || l.Master.Epoch <= before.Epoch {
		t.Errorf("got master %+v; want two in a later epoch than %d", l.Master, before.Epoch)
	}
	f := p.awaitFailover()
	if f.ID == "" || f.To != two.l.Addr().String() || f.Dropped != 1 {
		t.Fatalf("got last failover %+v; want one to %s that dropped 1", f, two.l.Addr())
	}
	if got := p.metric(`failover_dropped_total{label="default"}`); got != 1 {
		t.Errorf("got %v dropped; want 1", got)
	}
	eventually(t, "the line of the failover "+f.ID, func() bool {
		return slices.ContainsFunc(p.log.lines(t, "failover"), func(line map[string]any) bool {
			return line["id"] == f.ID && line["component"] == "proxy" && line["level"] == "info" && line["to"] == f.To
		})
	})
}

// awaitFailover waits for the record of one. It is made when every shard has cut its
// connections, after the clients of some have seen it.
func (p *running) awaitFailover() (f *api.FailoverInfo) {
	p.t.Helper()
	eventually(p.t, "the record of a failover", func() bool {
		f = p.label().LastFailover
		return f != nil
	})
	return f
}

func TestMasterGoneKeepsLiveConnectionsAndHoldsNewOnes(t *testing.T) {
	consul, one, p := follows(t, "--hold-timeout=300ms")
	live := p.connected(one)
	failovers := p.label().Failovers
	consul.SetTags("one", asSlave, inGroup)
	p.awaitReason("no master: default")
	live.isAlive()
	p.saysOnce("master lost", "label", "default", "master", one.l.Addr().String(), "connections", "kept", "live", 1.0, "reason", "no master")
	if got := p.metric(`master_lost_total{label="default"}`); got != 1 {
		t.Errorf("got %v masters lost; want 1", got)
	}
	p.dial().isReset() // after the hold timeout
	l := p.label()
	if l.MastersSeen != 0 || l.Master != nil || l.Failovers != failovers {
		t.Errorf("got masters_seen %d, master %+v, %d failovers; want 0, none, %d", l.MastersSeen, l.Master, l.Failovers, failovers)
	}
	if got := p.metric(`connections_closed_total{label="default",reason="no_master"}`); got != 1 {
		t.Errorf("got %v closed for no_master; want 1", got)
	}
}

// TestStatusSaysWhyThereIsNoMaster: the only candidate's check does not pass.
func TestStatusSaysWhyThereIsNoMaster(t *testing.T) {
	consul, _, p := follows(t)
	if l := p.label(); len(l.Failing) != 0 {
		t.Errorf("got failing %+v with a master; want none", l.Failing)
	}
	consul.SetCheck("one", consultest.Warning, "slow")
	p.awaitReason("no master: default")
	eventually(t, "the reason", func() bool {
		f := p.label().Failing
		return len(f) == 1 && f[0].ServiceID == "one" && f[0].Status == "warning" && f[0].Check != "" && f[0].Node != ""
	})
}

func TestMasterBackAtTheSameAddressIsNoFailover(t *testing.T) {
	consul, one, p := follows(t)
	live := p.connected(one)
	before := p.label()
	consul.SetTags("one", asSlave, inGroup)
	p.awaitReason("no master: default")
	eventually(t, "no master for clients", func() bool { return p.label().Master == nil }) // discovery knows it a moment before
	held := p.dial()
	eventually(t, "the new client to be held", func() bool { return p.label().Held == 1 })
	consul.SetTags("one", asMaster, inGroup)
	held.greetedBy(one)
	p.awaitReady()
	live.isAlive()
	p.saysOnce("master back", "label", "default", "master", one.l.Addr().String())
	after := p.label()
	if after.Failovers != before.Failovers || after.Master.Epoch != before.Master.Epoch {
		t.Errorf("got %d failovers, epoch %d; want %d, %d", after.Failovers, after.Master.Epoch, before.Failovers, before.Master.Epoch)
	}
}

func TestChurnAtTheSameAddressIsNoFailover(t *testing.T) {
	consul, one, p := follows(t)
	live := p.connected(one)
	before := p.label()
	consul.SetCheck("one", consultest.Passing, "another output")
	consul.SetTags("one", asMaster, inGroup, "another=tag")
	again := one.service(asMaster, inGroup)
	again.ID = "one-again"
	consul.Register(again)
	consul.Deregister("one")
	eventually(t, "the new service id", func() bool { m := p.label().Master; return m != nil && m.ServiceID == "one-again" })
	live.isAlive()
	if got := p.label(); got.Failovers != before.Failovers || got.Master.Epoch != before.Master.Epoch {
		t.Errorf("got %d failovers, epoch %d; want %d, %d", got.Failovers, got.Master.Epoch, before.Failovers, before.Master.Epoch)
	}
}

func TestLongServiceIDIsCutWhereverItIsShown(t *testing.T) {
	consul, one := startConsul(t), startWorker(t, "one")
	long := one.service(asMaster, inGroup)
	long.ID = strings.Repeat("x", 5000)
	consul.Register(long)
	p := startProgram(t, "--consul-addr="+consul.Addr)
	p.awaitReady()
	shown := long.ID[:256]
	if m := p.label().Master; m == nil || m.ServiceID != shown {
		t.Errorf("/status: got %+v; want the first 256 bytes of the id", m)
	}
	p.metric(`master_info{address="` + one.l.Addr().String() + `",label="default",service_id="` + shown + `"}`)
	_, out, _ := runOnce(t, []string{"check", "--consul-addr=" + consul.Addr, "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"}, nil)
	for where, text := range map[string]string{"the log": p.log.String(), "check": out} {
		if strings.Contains(text, shown+"x") {
			t.Errorf("got more than 256 bytes of the id in %s", where)
		}
	}
	if !strings.Contains(out, shown) {
		t.Errorf("got no id from check:\n%s", out)
	}
}

func TestOfTwoMastersTheNewestWins(t *testing.T) {
	consul, one, p := follows(t)
	live := p.connected(one)
	two := startWorker(t, "two")
	consul.Register(two.service(asMaster, inGroup))
	live.isReset()
	p.connected(two)
	p.awaitReady()
	eventually(t, "both to be seen", func() bool { return p.metric(`masters_seen{label="default"}`) == 2 })
}

func TestTwoMastersAreRefused(t *testing.T) {
	consul, one, p := follows(t, "--on-conflict=refuse")
	live := p.connected(one)
	two := startWorker(t, "two")
	consul.Register(two.service(asMaster, inGroup))
	live.isReset()
	p.awaitReason("conflict: default")
	held := p.dial()
	eventually(t, "the new client to be held", func() bool { return p.label().Held == 1 })
	if l := p.label(); l.MastersSeen != 2 || l.Master != nil {
		t.Errorf("got masters_seen %d, master %+v; want 2, none", l.MastersSeen, l.Master)
	}
	consul.SetTags("one", asSlave, inGroup)
	held.greetedBy(two)
	p.awaitReady()
	p.saysOnce("failover", "to", "", "dropped", 1.0, "reason", "conflict")
	p.saysOnce("master back", "master", two.l.Addr().String())
	if lost := p.log.lines(t, "master lost"); len(lost) != 0 {
		t.Errorf("got %v; want no master lost in a conflict", lost)
	}
}

func TestColdStartHoldsUntilTheFirstAnswer(t *testing.T) {
	consul := startConsul(t)
	one := startWorker(t, "one")
	consul.Register(one.service(asMaster, inGroup))
	undo := consul.Inject(consultest.Hang())
	p := startProgram(t, "--consul-addr="+consul.Addr)
	p.awaitReason("starting: default")
	held := p.dial()
	eventually(t, "the client to be held", func() bool { return p.label().Held == 1 })
	undo()
	held.greetedBy(one)
	p.awaitReady()
}

func TestOutageKeepsTheLastMaster(t *testing.T) {
	consul, one, p := follows(t)
	live := p.connected(one)
	consul.Stop()
	up := `consul_up{address="` + consul.Addr + `"}`
	eventually(t, "the outage to be seen", func() bool { return p.metric(up) == 0 })
	p.awaitReady()
	live.isAlive()
	p.connected(one)
	if c := p.status().Consul[0]; c.OK || c.Error == "" || c.LastContact == nil {
		t.Errorf("got %+v; want the trouble and the last contact", c)
	}
	consul.Start()
	eventually(t, "the recovery", func() bool { return p.metric(up) == 1 })
	live.isAlive()
}

func TestOutageFences(t *testing.T) {
	consul, one, p := follows(t, "--on-outage=fence", "--fence-after=1s")
	live := p.connected(one)
	consul.Stop()
	live.isReset()
	p.awaitReason("consul unreachable: default")
	held := p.dial()
	eventually(t, "the new client to be held", func() bool { return p.label().Held == 1 })
	if f := p.awaitFailover(); f.To != "" || f.Dropped != 1 {
		t.Errorf("got last failover %+v; want one to none that dropped 1", f)
	}
	consul.Start()
	held.greetedBy(one)
	p.awaitReady()
	p.saysOnce("failover", "to", "", "dropped", 1.0, "reason", "consul unreachable")
	p.saysOnce("master back", "master", one.l.Addr().String())
	if lost := p.log.lines(t, "master lost"); len(lost) != 0 {
		t.Errorf("got %v; want no master lost in an outage", lost)
	}
}

func TestMasterThatRefusesIsTriedUntilItAccepts(t *testing.T) {
	consul := startConsul(t)
	address := nobody(t)
	consul.Register(serviceAt(t, "late", address))
	p := startProgram(t, "--consul-addr="+consul.Addr, "--hold-timeout=1m")
	p.awaitReady()
	c := p.dial()
	eventually(t, "a failed dial", func() bool { return p.metric(`dial_failures_total{label="default"}`) > 0 })
	p.awaitReady()
	c.greetedBy(startWorkerAt(t, "late", address))
}

func TestMasterMustCarryTheTagOfItsLabel(t *testing.T) {
	consul := startConsul(t)
	a, b := startWorker(t, "a"), startWorker(t, "b")
	consul.Register(a.service(asMaster, "label=a"), b.service(asMaster, "label=b"))
	p := startProgram(t, "--consul-addr="+consul.Addr, "--listen=a=127.0.0.1:0", "--listen=b=127.0.0.1:0", "--listen=c=127.0.0.1:0")
	p.awaitReason("no master: c")
	s := p.status()
	dialProxy(t, s.Labels[0].Listen).greetedBy(a)
	dialProxy(t, s.Labels[1].Listen).greetedBy(b)
	_, r := p.ready()
	if r.Labels["a"] != "found" || r.Labels["b"] != "found" || r.Labels["c"] != "no master" {
		t.Errorf("got %v; want a and b found, c without master", r.Labels)
	}
}

func TestListenerWithoutALabelFollowsAnyMasterOfTheService(t *testing.T) {
	consul := startConsul(t)
	one := startWorker(t, "one")
	consul.Register(one.service(asMaster))
	p := startProgram(t, "--consul-addr="+consul.Addr, "--listen=127.0.0.1:0")
	p.awaitReady()
	p.connected(one)
	if got := p.label().Label; got != "default" {
		t.Errorf("got label %q; want default", got)
	}
}

func TestStaticMasterNeedsNoConsul(t *testing.T) {
	one := startWorker(t, "one")
	p := startProgram(t, "--static-master="+one.l.Addr().String())
	p.awaitReady()
	p.connected(one).isAlive()
	if s := p.status(); s.Consul == nil || len(s.Consul) != 0 || s.Labels[0].MastersSeen != 1 {
		t.Errorf("got consul %v, masters_seen %d; want [], 1", s.Consul, s.Labels[0].MastersSeen)
	}
}

func TestDrainAcceptsUntilGraceEndsAndObeysFailovers(t *testing.T) {
	consul, one, p := follows(t)
	live := p.connected(one)
	var state map[string]any
	if code := p.request("POST", "/drain?grace=500ms&timeout=10m", &state); code != http.StatusAccepted || state["state"] != "draining" {
		t.Fatalf("got %d %v; want 202 draining", code, state)
	}
	if code, r := p.ready(); code != http.StatusServiceUnavailable || r.Reasons[0] != "draining" {
		t.Errorf("got %d %v; want 503 draining", code, r.Reasons)
	}
	listen := p.label().Listen
	eventually(t, "the listener to close", func() bool {
		c, err := net.Dial("tcp", listen)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	live.isAlive()
	eventually(t, "all but the live one to end", func() bool { return p.drainState()["active"] == 1.0 })
	if s := p.drainState(); s["state"] != "draining" || s["accepting"] != false {
		t.Errorf("got %v; want draining, not accepting", s)
	}
	two := startWorker(t, "two")
	consul.Register(two.service(asMaster, inGroup))
	live.isReset()
	eventually(t, "drained", func() bool { return p.drainState()["state"] == "drained" })
	if code := p.request("DELETE", "/drain", &state); code != http.StatusOK || state["state"] != "serving" {
		t.Fatalf("got %d %v; want 200 serving", code, state)
	}
	p.awaitReady()
	p.connected(two).isAlive()
	if got := p.label().Listen; got != listen {
		t.Errorf("got listener at %s; want %s as before", got, listen)
	}
}

func TestGraceStillAccepts(t *testing.T) {
	_, one, p := follows(t)
	var state map[string]any
	p.request("POST", "/drain?grace=10m&timeout=20m", &state)
	p.connected(one).isAlive()
}

func TestDrainDeadlineCutsTheRestAndUndoBringsItBack(t *testing.T) {
	_, one, p := follows(t)
	live := p.connected(one)
	var state map[string]any
	p.request("POST", "/drain?grace=0s&timeout=100ms", &state)
	live.isReset()
	eventually(t, "drained", func() bool { return p.drainState()["state"] == "drained" })
	if got := p.metric(`connections_closed_total{label="default",reason="drain_deadline"}`); got != 1 {
		t.Errorf("got %v cut at the deadline; want 1", got)
	}
	p.saysOnce("drain finished", "cut", 1.0, "component", "drain")
	p.request("DELETE", "/drain", &state)
	p.connected(one).isAlive()
}

func TestUndoWhileWaitingKeepsLiveConnections(t *testing.T) {
	_, one, p := follows(t)
	live := p.connected(one)
	var state map[string]any
	p.request("POST", "/drain?grace=0s", &state)
	eventually(t, "accepting to end", func() bool { return p.drainState()["accepting"] == false })
	if code := p.request("DELETE", "/drain", &state); code != http.StatusOK {
		t.Fatalf("got %d %v; want 200", code, state)
	}
	live.isAlive()
	p.connected(one).isAlive()
}

func TestKillResetsLiveConnections(t *testing.T) {
	_, one, p := follows(t)
	live := p.connected(one)
	var list []api.Connection
	if p.request("GET", "/connections", &list); len(list) != 1 || list[0].State != "relaying" || list[0].Master != one.l.Addr().String() || list[0].Client != live.LocalAddr().String() {
		t.Errorf("got %+v; want the one live connection", list)
	}
	var answer map[string]int
	if code := p.request("DELETE", "/connections?label=default", &answer); code != 200 || answer["closed"] != 1 {
		t.Errorf("got %d %v; want 1 closed", code, answer)
	}
	live.isReset()
	if got := p.metric(`connections_closed_total{label="default",reason="killed"}`); got != 1 {
		t.Errorf("got %v killed; want 1", got)
	}
}

func TestSignalDrainsAndEndsTheProgram(t *testing.T) {
	_, one, p := follows(t, "--drain-grace=0s")
	live := p.connected(one)
	p.signals <- terminate
	eventually(t, "accepting to end", func() bool { return p.drainState()["accepting"] == false })
	live.isAlive()
	var v map[string]any
	if code := p.request("DELETE", "/drain", &v); code != http.StatusConflict {
		t.Errorf("undo: got %d %v; want 409", code, v)
	}
	live.Close()
	p.awaitEnd(exitOK)
}

func TestDeadlineOfASignalledDrainEndsTheProgramWithZero(t *testing.T) {
	_, one, p := follows(t, "--drain-grace=0s", "--drain-timeout=200ms")
	live := p.connected(one)
	p.signals <- terminate
	live.isReset()
	p.awaitEnd(exitOK)
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	_, one, p := follows(t, "--drain-grace=10m", "--drain-timeout=20m")
	live := p.connected(one)
	begun := time.Now()
	p.signals <- terminate
	p.signals <- terminate
	p.awaitEnd(exitOK)
	if took := time.Since(begun); took > testTimeout {
		t.Errorf("took %v; want it to end at once", took)
	}
	if _, err := live.line(); err == nil {
		t.Error("got a line; want the connection closed")
	}
}

func TestSignalEndsADrainedProgram(t *testing.T) {
	_, _, p := follows(t)
	var v map[string]any
	p.request("POST", "/drain?grace=0s", &v)
	eventually(t, "drained", func() bool { return p.drainState()["state"] == "drained" })
	p.signals <- terminate
	p.awaitEnd(exitOK)
}

func TestDrainRequestedWithExitEndsTheProgram(t *testing.T) {
	_, _, p := follows(t)
	var v map[string]any
	p.request("POST", "/drain?grace=0s&exit=true", &v)
	p.awaitEnd(exitOK)
}

func TestFullInstanceIsNotReadyUntilAClientLeaves(t *testing.T) {
	_, one, p := follows(t, "--max-conns=1")
	c := p.connected(one)
	p.awaitReason("full")
	c.Close()
	p.awaitReady()
}
