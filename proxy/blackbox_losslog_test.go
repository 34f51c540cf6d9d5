package proxy_test

import (
	"encoding/json"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/proxy"
)

// The ways to lose a master, as a source of masters says them.
var (
	goneKept = proxy.Loss{Announce: true, Reason: "no master"}
	goneCut  = proxy.Loss{Announce: true, Reason: "the lock is lost", Cut: true}
	conflict = proxy.Loss{Reason: "conflict", Cut: true}
)

// changes are the lines that tell of masters, in their order.
func (l *lines) changes(t *testing.T) (found []map[string]any) {
	t.Helper()
	for text := range strings.Lines(l.String()) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("log line %q: %v", text, err)
		}
		switch line["message"] {
		case "master elected", "master lost", "master back", "failover":
			found = append(found, line)
		}
	}
	return found
}

// wantChanges checks that the lines that tell of masters are these, with these
// fields and no others.
func (l *lines) wantChanges(t *testing.T, want ...map[string]any) {
	t.Helper()
	got := l.changes(t)
	if len(got) != len(want) {
		t.Fatalf("got %d lines:\n%v\nwant %d:\n%v", len(got), got, len(want), want)
	}
	for i, line := range got {
		for name, value := range want[i] {
			if value == measured && line[name] != nil {
				line[name] = measured
			}
		}
		if !reflect.DeepEqual(line, want[i]) {
			t.Errorf("line %d: got %v; want %v", i, line, want[i])
		}
	}
}

// measured stands for any value.
const measured = "measured"

func elected(m netip.AddrPort) map[string]any {
	return map[string]any{"message": "master elected", "level": "info", "component": "proxy", "label": "default",
		"to": m.String(), "epoch": 1.0, "carried": 0.0}
}

func lostLine(m netip.AddrPort, connections string, live int, reason string) map[string]any {
	return map[string]any{"message": "master lost", "level": "warn", "component": "proxy", "label": "default",
		"master": m.String(), "connections": connections, "live": float64(live), "reason": reason}
}

func backLine(m netip.AddrPort) map[string]any {
	return map[string]any{"message": "master back", "level": "info", "component": "proxy", "label": "default",
		"master": m.String(), "lost_ms": measured}
}

// backInEpoch is for a master that began an epoch without a failover line.
func backInEpoch(m netip.AddrPort, epoch int) map[string]any {
	line := backLine(m)
	line["epoch"], line["carried"] = float64(epoch), 0.0
	return line
}

func failoverLine(from, to netip.AddrPort, epoch, dropped int, more ...any) map[string]any {
	line := map[string]any{"message": "failover", "level": "info", "component": "proxy", "label": "default",
		"from": from.String(), "to": "", "epoch": float64(epoch), "dropped": float64(dropped), "carried": 0.0,
		"id": measured, "fence_us": measured, "cut_ms": measured}
	if to.IsValid() {
		line["to"] = to.String()
	}
	for i := 0; i < len(more); i += 2 {
		line[more[i].(string)] = more[i+1]
	}
	return line
}

// none is the address of nobody.
var none netip.AddrPort

// lossTest is a proxy that follows the first of two masters.
type lossTest struct {
	*relay
	log      *lines
	one, two *master
}

func newLossTest(t *testing.T) *lossTest {
	noLeaks(t)
	r, log := newLoggedProxy(t, config())
	l := &lossTest{relay: r, log: log, one: newMaster(t, nil), two: newMaster(t, nil)}
	l.set(l.one.addr)
	return l
}

// live is a connection that has reached the first master.
func (r *lossTest) live() (client, server *net.TCPConn) {
	r.t.Helper()
	client, server = r.pair(r.one)
	relays(r.t, client, server)
	return client, server
}

func TestLossAndReturnOfTheSameMasterAreSaidOnceEach(t *testing.T) {
	r := newLossTest(t)
	client, server := r.live()
	r.Lose("default", goneKept)
	r.Lose("default", goneKept) // again is no other loss
	held := r.dial()
	r.waitHeld(1)
	relays(t, client, server)
	r.set(r.one.addr)
	r.set(r.one.addr)
	relays(t, held, r.one.next())
	relays(t, client, server)
	r.log.wantChanges(t, elected(r.one.addr), lostLine(r.one.addr, "kept", 1, "no master"), backLine(r.one.addr))
	r.wantLosses(1, 0)

	r.Lose("default", goneKept) // the next loss is another one
	r.log.wantChanges(t, elected(r.one.addr), lostLine(r.one.addr, "kept", 1, "no master"), backLine(r.one.addr),
		lostLine(r.one.addr, "kept", 2, "no master"))
	r.wantLosses(2, 0)
}

func (r *lossTest) wantLosses(lost, failovers uint64) {
	r.t.Helper()
	if s := r.state(); s.MastersLost != lost || s.Failovers != failovers {
		r.t.Errorf("masters lost, failovers: got %d, %d; want %d, %d", s.MastersLost, s.Failovers, lost, failovers)
	}
}

func TestAnotherMasterAfterALossIsSaidToBeAFailoverAndTheReturn(t *testing.T) {
	r := newLossTest(t)
	r.live()
	r.Lose("default", goneKept)
	r.set(r.two.addr)
	r.log.wantChanges(t, elected(r.one.addr), lostLine(r.one.addr, "kept", 1, "no master"),
		failoverLine(r.one.addr, r.two.addr, 2, 1), backLine(r.two.addr))
	r.wantLosses(1, 1)
}

func TestLossThatCutsIsSaidToBeOneAndAFailoverToNone(t *testing.T) {
	r := newLossTest(t)
	client, server := r.live()
	cut := r.Lose("default", goneCut)
	wantNoSockets(t, r.one.addr)
	wantEnd(t, "client", client, byRST)
	wantEnd(t, "master", server, byRST)
	if cut.ID == "" || cut.Dropped != 1 || cut.To != "" || cut.Reason != "the lock is lost" {
		t.Errorf("cut: got %+v; want a failover to none that dropped 1, with its reason", cut)
	}
	wantNoFailover(t, r.Lose("default", goneCut))
	r.set(r.two.addr) // nobody was master: an election, and no failover
	r.log.wantChanges(t, elected(r.one.addr), lostLine(r.one.addr, "cut", 1, "the lock is lost"),
		failoverLine(r.one.addr, none, 2, 1, "reason", "the lock is lost"), backInEpoch(r.two.addr, 3))
	r.wantLosses(1, 1)
}

// TestLossThatCutsLaterIsOneLoss: the failover line says for how long the
// connections were kept.
func TestLossThatCutsLaterIsOneLoss(t *testing.T) {
	r := newLossTest(t)
	client, server := r.live()
	r.Lose("default", goneKept)
	relays(t, client, server)
	time.Sleep(20 * time.Millisecond)
	later := goneKept
	later.Cut = true
	r.Lose("default", later)
	wantEnd(t, "client", client, byRST)
	time.Sleep(20 * time.Millisecond)
	r.set(r.one.addr)
	if cut, back := r.log.with(t, "failover")[0], r.log.with(t, "master back")[0]; cut["lost_ms"].(float64) < 20 || back["lost_ms"].(float64) < 40 {
		t.Errorf("lost for %v ms when it cut, %v when it was back; want at least 20 and 40", cut["lost_ms"], back["lost_ms"])
	}
	r.log.wantChanges(t, elected(r.one.addr), lostLine(r.one.addr, "kept", 1, "no master"),
		failoverLine(r.one.addr, none, 2, 1, "reason", "no master", "lost_ms", measured), backInEpoch(r.one.addr, 3))
	r.wantLosses(1, 1)
}

// TestMasterThatMayNotBeServedIsNotSaidToBeLost: two claim to be it, or Consul
// cannot be asked.
func TestMasterThatMayNotBeServedIsNotSaidToBeLost(t *testing.T) {
	r := newLossTest(t)
	r.live()
	r.Lose("default", conflict)
	want := []map[string]any{elected(r.one.addr), failoverLine(r.one.addr, none, 2, 1, "reason", "conflict")}
	r.log.wantChanges(t, want...)
	r.wantLosses(0, 1)

	r.Lose("default", goneKept) // now nobody claims it
	want = append(want, lostLine(r.one.addr, "cut", 0, "no master"))
	r.log.wantChanges(t, want...)
	r.Lose("default", conflict)
	r.set(r.one.addr)
	r.log.wantChanges(t, append(want, backInEpoch(r.one.addr, 3))...)
	r.wantLosses(1, 1)
}

func TestMasterAfterMasterIsAFailoverAlone(t *testing.T) {
	r := newLossTest(t)
	r.live()
	r.set(r.two.addr)
	r.log.wantChanges(t, elected(r.one.addr), failoverLine(r.one.addr, r.two.addr, 2, 1))
	r.wantLosses(0, 1)
}

func TestLabelThatNeverHadAMasterIsNotSaidToLoseOne(t *testing.T) {
	noLeaks(t)
	r, log := newLoggedProxy(t, config())
	r.Lose("default", goneKept)
	wantNoFailover(t, r.Lose("default", goneCut))
	log.wantChanges(t)
	m := newMaster(t, nil)
	r.set(m.addr)
	log.wantChanges(t, elected(m.addr))
	if got := r.state().MastersLost; got != 0 {
		t.Errorf("masters lost: got %d; want 0", got)
	}
}

// TestMasterThatIsTheProxyItselfIsSaidToBeALoop: a failover to none with that
// reason, and the next master ends the loss.
func TestMasterThatIsTheProxyItselfIsSaidToBeALoop(t *testing.T) {
	r := newLossTest(t)
	r.live()
	own := netip.MustParseAddrPort(r.addrs["default"])
	r.set(own)
	wantNoFailover(t, r.Lose("default", conflict)) // from none to none
	if s := r.state(); s.Loop || s.Epoch != 3 {
		t.Errorf("loop, epoch: got %t, %d; want the loop to have ended in a third", s.Loop, s.Epoch)
	}
	r.set(own) // a loss goes on with it
	r.set(r.two.addr)
	r.log.wantChanges(t, elected(r.one.addr), failoverLine(r.one.addr, none, 2, 1, "reason", "loop"), backInEpoch(r.two.addr, 5))
}

// TestLiveConnectionsOfALossAreThoseThatReachedTheMaster: not the held, nor
// those that have ended.
func TestLiveConnectionsOfALossAreThoseThatReachedTheMaster(t *testing.T) {
	r := newLossTest(t)
	for range 3 {
		client, _ := r.live()
		defer client.Close()
	}
	gone, _ := r.live()
	reset(t, gone)
	r.waitActive(3)
	r.Lose("default", goneKept)
	held := r.dial()
	r.waitHeld(1)
	r.set(r.one.addr)
	relays(t, held, r.one.next())
	r.Lose("default", goneKept)
	r.log.wantChanges(t, elected(r.one.addr), lostLine(r.one.addr, "kept", 3, "no master"), backLine(r.one.addr),
		lostLine(r.one.addr, "kept", 4, "no master"))
}
