package proxy_test

import (
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/proxy"
)

// wantNoFailover fails the test when c says that it began an epoch.
func wantNoFailover(t *testing.T, c proxy.Cut) {
	t.Helper()
	if c.ID != "" || c.Dropped != 0 || c.Carried != 0 {
		t.Errorf("cut: got %+v; want none", c)
	}
}

func TestSameAddressAgainIsNoFailover(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	m := newMaster(t, nil)
	r.SetMaster("default", proxy.Master{Address: m.addr, ServiceID: "one", Node: "n1"})
	client, server := r.pair(m)
	before := r.state()

	wantNoFailover(t, r.SetMaster("default", proxy.Master{Address: m.addr, ServiceID: "two", Node: "n2"}))
	relays(t, client, server)
	s := r.state()
	if s.Epoch != before.Epoch || s.Failovers != before.Failovers || s.FailoverDropped != 0 {
		t.Errorf("epoch, failovers, dropped: got %d, %d, %d; want %d, %d, 0",
			s.Epoch, s.Failovers, s.FailoverDropped, before.Epoch, before.Failovers)
	}
	if s.Master.ServiceID != "two" || s.Master.Node != "n2" {
		t.Errorf("master: got service %q on %q; want the new names, two on n2", s.Master.ServiceID, s.Master.Node)
	}
}

func TestLossKeepsTheLiveAndHoldsTheNew(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	m := newMaster(t, nil)
	r.set(m.addr)
	client, server := r.pair(m)
	before := r.state()

	r.Lose("default", proxy.Loss{})
	if s := r.state(); s.Master.Address.IsValid() {
		t.Errorf("master after a loss: got %v; want none", s.Master.Address)
	}
	late := r.dial()
	r.waitHeld(1)
	relays(t, client, server)
	m.wantNone()

	wantNoFailover(t, r.set(m.addr))
	relays(t, late, m.next())
	relays(t, client, server)
	if s := r.state(); s.Epoch != before.Epoch || s.Failovers != before.Failovers || s.Master.Address != m.addr {
		t.Errorf("epoch, failovers, master: got %d, %d, %v; want %d, %d, %v",
			s.Epoch, s.Failovers, s.Master.Address, before.Epoch, before.Failovers, m.addr)
	}
	r.wantClosed(nil)
}

func TestAnotherMasterAfterALossIsAFailover(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	old, young := newMaster(t, nil), newMaster(t, nil)
	r.set(old.addr)
	client, server := r.pair(old)
	r.Lose("default", proxy.Loss{})
	late := r.dial()
	r.waitHeld(1)

	cut := r.set(young.addr)
	wantNoSockets(t, old.addr)
	if cut.Dropped != 1 || cut.Carried != 1 || cut.From != old.addr.String() {
		t.Errorf("dropped, carried, from: got %d, %d, %s; want 1, 1, %v", cut.Dropped, cut.Carried, cut.From, old.addr)
	}
	wantEnd(t, "client", client, byRST)
	wantEnd(t, "old master", server, byRST)
	relays(t, late, young.next())
	old.wantNone()
}

// TestLossEndsNoDialInFlight: there is no master, so a dial that began
// before may finish or not, but nobody is lost.
func TestLossEndsNoDialInFlight(t *testing.T) {
	noLeaks(t)
	c := config()
	c.ConnectTimeout = 2 * testTimeout
	r := newProxy(t, c)
	hung, callers := newHungMaster(t)
	r.set(hung)
	client := r.dial()
	r.waitState("dialing", 1)
	r.Lose("default", proxy.Loss{})
	r.set(newMaster(t, announce('Y')).addr)
	if n := callers(); n != 0 {
		t.Errorf("dials in flight to the previous master: got %d; want 0", n)
	}
	wantText(t, client, "Y")
}

func TestNobodyAsMasterCutsTheLiveAndHoldsTheNew(t *testing.T) {
	noLeaks(t)
	r := newProxy(t, config())
	m := newMaster(t, nil)
	r.set(m.addr)
	client, server := r.pair(m)
	before := r.state().Epoch

	cut := r.SetMaster("default", proxy.Master{})
	wantNoSockets(t, m.addr)
	if cut.ID == "" || cut.To != "" || cut.Dropped != 1 || cut.Epoch != before+1 {
		t.Errorf("cut: got %+v; want one connection dropped, to nobody, epoch %d", cut, before+1)
	}
	wantEnd(t, "client", client, byRST)
	wantEnd(t, "master", server, byRST)
	late := r.dial()
	r.waitHeld(1)
	m.wantNone()

	wantNoFailover(t, r.SetMaster("default", proxy.Master{})) // nobody again is no change

	cut = r.set(m.addr) // an election, for there was nobody to fail over from
	if cut.ID != "" || cut.Epoch != before+2 || cut.Carried != 1 || cut.Dropped != 0 || cut.From != "" {
		t.Errorf("cut: got %+v; want no failover, one client carried, from nobody, epoch %d", cut, before+2)
	}
	relays(t, late, m.next())
	if s := r.state(); s.Epoch != before+2 || s.Failovers != 1 {
		t.Errorf("epoch, failovers: got %d, %d; want %d, 1", s.Epoch, s.Failovers, before+2)
	}
}

// TestCutWaitsForNoLog: the lines are written after it, whatever took the master.
func TestCutWaitsForNoLog(t *testing.T) {
	for name, lose := range map[string]func(*relay){
		"lost":     func(r *relay) { r.Lose("default", goneCut) },
		"conflict": func(r *relay) { r.Lose("default", conflict) },
		"loop":     func(r *relay) { r.set(netip.MustParseAddrPort(r.addrs["default"])) },
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			released := make(chan struct{})
			log := &stuckLog{}
			r := newLogging(t, config(), zerolog.New(log))
			m := newMaster(t, nil)
			r.set(m.addr)
			client, server := r.pair(m)
			relays(t, client, server)
			log.released.Store(&released)
			done := make(chan struct{})
			go func() {
				defer close(done)
				lose(r)
			}()
			wantEnd(t, "client", client, byRST)
			wantEnd(t, "master", server, byRST)
			close(released)
			<-done
		})
	}
}

// stuckLog takes every line at once, until it is stuck.
type stuckLog struct{ released atomic.Pointer[chan struct{}] }

func (l *stuckLog) Write(p []byte) (int, error) {
	if released := l.released.Load(); released != nil {
		<-*released
	}
	return len(p), nil
}
