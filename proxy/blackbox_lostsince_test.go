package proxy_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/proxy"
)

// wantLost checks since when "default" is said to have no master.
func (r *relay) wantLost(when string, want time.Time) {
	r.t.Helper()
	if s := r.state(); !s.LostSince.Equal(want) || s.Master.Address.IsValid() != want.IsZero() || (s.LostFor > 0) == want.IsZero() {
		r.t.Errorf("%s: got a master %t, lost since %v, for %v; want lost since %v",
			when, s.Master.Address.IsValid(), s.LostSince, s.LostFor, want)
	}
}

// losesIts checks that "default" lost its master by lose, and returns when.
func (r *relay) losesIts(how string, lose func()) time.Time {
	r.t.Helper()
	before := time.Now()
	lose()
	s := r.state()
	if s.LostSince.Before(before) || s.LostSince.After(time.Now()) {
		r.t.Fatalf("%s: lost since %v; want a time from %v to %v", how, s.LostSince, before, time.Now())
	}
	return s.LostSince
}

// TestLostSinceCountsFromTheFirstOfWhatTookTheMaster: whatever comes on top of
// it, the clients have been waiting since then.
func TestLostSinceCountsFromTheFirstOfWhatTookTheMaster(t *testing.T) {
	r := newProxy(t, config())
	one, two := newMaster(t, echo), newMaster(t, echo)
	own := netip.MustParseAddrPort(r.addrs["default"])
	takers := map[string]func(){
		"lost":         func() { r.Lose("default", proxy.Loss{}) },
		"cut":          func() { r.set(netip.AddrPort{}) },
		"own listener": func() { r.set(own) },
	}
	for first, take := range takers {
		for second, more := range takers {
			r.set(one.addr)
			r.wantLost("with a master", time.Time{})
			since := r.losesIts(first, take)
			more()
			r.wantLost(second+" after "+first, since)
		}
	}
	since := r.state().LostSince
	time.Sleep(10 * time.Millisecond)
	r.wantLost("a while later", since)
	if got := r.state().LostFor; got < 10*time.Millisecond {
		t.Errorf("lost for %v; want at least 10ms", got)
	}
	r.set(two.addr)
	r.wantLost("with another master", time.Time{})
}

// TestSameMasterBackIsLostNoMore: lost again is lost anew.
func TestSameMasterBackIsLostNoMore(t *testing.T) {
	r := newProxy(t, config())
	m := newMaster(t, echo)
	r.set(m.addr)
	first := r.losesIts("lost", func() { r.Lose("default", proxy.Loss{}) })
	r.set(m.addr)
	r.wantLost("back", time.Time{})
	if second := r.losesIts("lost again", func() { r.Lose("default", proxy.Loss{}) }); !second.After(first) {
		t.Errorf("lost again: got %v; want later than %v", second, first)
	}
}

// TestLabelThatNeverHadAMasterLostNone: nobody can say for how long.
func TestLabelThatNeverHadAMasterLostNone(t *testing.T) {
	r := newProxy(t, config())
	own := netip.MustParseAddrPort(r.addrs["default"])
	for _, take := range []func(){
		func() {}, func() { r.Lose("default", proxy.Loss{}) }, func() { r.set(own) }, func() { r.Lose("default", proxy.Loss{}) }, func() { r.set(netip.AddrPort{}) },
	} {
		take()
		if s := r.state(); !s.LostSince.IsZero() || s.LostFor != 0 {
			t.Errorf("got lost since %v, for %v; want never", s.LostSince, s.LostFor)
		}
	}
}

// TestLossIsSeenWithTheMasterOrNotAtAll: at no moment a label that had a master
// is seen without one, and never to have lost it.
func TestLossIsSeenWithTheMasterOrNotAtAll(t *testing.T) {
	r := newProxy(t, config())
	m := newMaster(t, echo)
	r.set(m.addr)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 100 {
			r.Lose("default", proxy.Loss{})
			r.set(m.addr)
			r.set(netip.AddrPort{})
			r.set(m.addr)
		}
	}()
	for looks := 0; ; looks++ {
		l := r.Overview().Labels[0]
		if l.Master.Address.IsValid() != l.LostSince.IsZero() {
			t.Fatalf("look %d: got master %v, lost since %v; want one of the two", looks, l.Master.Address, l.LostSince)
		}
		select {
		case <-done:
			return
		default:
		}
	}
}
