package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/rosproxy/rosproxy/discovery/consultest"
)

const leaderKey = "service/app/leader"

// obeys starts Consul with a leader key that one's session holds, and rosproxy
// following it.
func obeys(t *testing.T, args ...string) (consul *consultest.Server, one *worker, session string, p *running) {
	t.Helper()
	consul, one = startConsul(t), startWorker(t, "one")
	session = consul.NewSession(consultest.ReleaseKeys)
	consul.Lock(leaderKey, one.l.Addr().String(), session)
	p = startProgram(t, append([]string{"--consul-addr=" + consul.Addr, "--leader-key=" + leaderKey}, args...)...)
	p.awaitReady()
	return consul, one, session, p
}

// TestLostLockIsSaidWhereverSomebodyLooks: why, and what became of the connections.
func TestLostLockIsSaidWhereverSomebodyLooks(t *testing.T) {
	consul, one, session, p := obeys(t, "--agent-check-listen=127.0.0.1:0")
	address := one.l.Addr().String()
	l := p.label()
	if k := l.Leader; l.Source != "leader-key" || k == nil || k.Key != leaderKey || k.Holder != address || !k.Locked || !k.Ready || k.ModifyIndex == 0 || l.Reason != "" {
		t.Errorf("got source %s, leader %+v, reason %q; want a ready leader that holds the key", l.Source, l.Leader, l.Reason)
	}
	live := p.connected(one)
	consul.Unlock(leaderKey)
	live.isReset()
	p.awaitReason("no master: default")

	const why = "no session holds the leader key"
	l = p.label()
	if k := l.Leader; k == nil || k.Locked || k.Ready || l.Master != nil || l.LostSince == nil || !strings.Contains(l.Reason, why) {
		t.Errorf("/status: got leader %+v, master %+v, lost since %v, reason %q; want none since a moment ago, and that %s", k, l.Master, l.LostSince, l.Reason, why)
	}
	if _, r := p.ready(); r.Why["default"] != l.Reason {
		t.Errorf("/readyz: got why %q; want %q", r.Why, l.Reason)
	}
	if got := agentSays(t, "tcp", p.agentAddress(), ""); got != "down ready #no master: default ("+l.Reason+")\n" {
		t.Errorf("agent check: got %q; want it to say %s", got, why)
	}
	p.saysOnce("master lost", "master", address, "connections", "cut", "live", 1.0, "reason", l.Reason)
	p.saysOnce("failover", "from", address, "to", "", "dropped", 1.0, "reason", l.Reason)
	if got := p.metric(`master_lost_total{label="default"}`); got != 1 {
		t.Errorf("got %v masters lost; want 1", got)
	}

	consul.Lock(leaderKey, address, session)
	p.awaitReady()
	p.connected(one)
	p.saysOnce("master back", "master", address)
	if l := p.label(); l.Reason != "" || l.LostSince != nil || l.Failovers != 1 || l.LastFailover.Reason == "" {
		t.Errorf("with the lock again: got reason %q, lost since %v, %d failovers, last %+v; want one failover, to none", l.Reason, l.LostSince, l.Failovers, l.LastFailover)
	}
}

// TestTokenThatMayNotReadTheKeyIsWhyThereIsNoMaster, from the start on.
func TestTokenThatMayNotReadTheKeyIsWhyThereIsNoMaster(t *testing.T) {
	consul, one := startConsul(t), startWorker(t, "one")
	consul.Lock(leaderKey, one.l.Addr().String(), consul.NewSession(consultest.ReleaseKeys))
	undo := consul.DenyKeys(leaderKey, "")
	p := startProgram(t, "--consul-addr="+consul.Addr, "--leader-key="+leaderKey)
	eventually(t, "the reason", func() bool {
		code, r := p.ready()
		return code == http.StatusServiceUnavailable && r.Reasons[0] == "starting: default" && r.Why["default"] != ""
	})
	undo()
	p.awaitReady()
	if _, r := p.ready(); len(r.Why) != 0 {
		t.Errorf("got why %v with a master; want none", r.Why)
	}
}

// TestLostMasterIsCutAfterAWhileWhereItIsAskedFor: one loss, kept at first.
func TestLostMasterIsCutAfterAWhileWhereItIsAskedFor(t *testing.T) {
	consul, one, p := follows(t, "--on-lost=cut", "--lost-after=500ms")
	live := p.connected(one)
	address := one.l.Addr().String()
	consul.SetTags("one", asSlave, inGroup)
	live.isReset()
	p.saysOnce("master lost", "master", address, "connections", "kept", "live", 1.0, "reason", "no master")
	failover := p.saysOnce("failover", "from", address, "to", "", "dropped", 1.0, "reason", "no master")
	if kept := failover["lost_ms"].(float64); kept <= 0 {
		t.Errorf("cut %v ms after the loss; want a while", kept)
	}
	consul.SetTags("one", asMaster, inGroup)
	p.awaitReady()
	p.connected(one)
	p.saysOnce("master back", "master", address)
	p.saysOnce("master lost")
}
