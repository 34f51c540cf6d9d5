package fleet_test

import (
	"bufio"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestFailoverDuringAnUpgradeBySignal: streams of three generations, the
// failover while the third takes over.
func TestFailoverDuringAnUpgradeBySignal(t *testing.T) {
	t.Parallel()
	eachBalancer(t, func(t *testing.T, balancer string) {
		f := newFleet(t, balancer)
		for _, i := range f.instances() {
			i.upgrade()
		}
		f.open(longLived)
		f.failOver(func() {
			for _, i := range f.instances() {
				i.signal(syscall.SIGUSR2)
			}
		}, func() {
			for _, i := range f.instances() {
				i.awaitGeneration(3)
			}
		})
		f.servesTwo()
	})
}

// TestFailoverDuringARollingUpgradeByDrain: one instance is draining, and its
// streams are cut as the others.
func TestFailoverDuringARollingUpgradeByDrain(t *testing.T) {
	t.Parallel()
	eachBalancer(t, func(t *testing.T, balancer string) {
		f := newFleet(t, balancer)
		f.failOver(func() {
			f.a.mustAdmin(http.MethodPost, "/drain?grace=1s&timeout=10m&exit=true", http.StatusAccepted, nil)
			f.a.logs("listener closed")
		}, func() {
			f.a.awaitEnd() // nothing is left to wait for
			f.a.start()
		})
		f.servesTwo()
	})
}

// failOver elects the other master while an upgrade is under way, which upgrade
// begins and finish brings to its end. It checks that every stream is cut, that
// no client hears what the old master has said after the cut, and that no
// request failed but those that the cut met.
func (f *fleet) failOver(upgrade, finish func()) {
	f.t.Helper()
	upgrade()
	f.wantUntouched("by the upgrade", f.streams)
	f.wantAllAnswered()
	elected := time.Now()
	f.consul.elect(f.two)
	f.wantEnded(f.streams, "failover")
	finish()
	for _, i := range f.instances() { // one that has just started hears of it by itself
		eventually(f.t, i.name+" to know the new master", func() bool {
			m := i.status().Labels[0].Master
			return m != nil && m.Address == f.two.l.Addr().String()
		})
	}
	f.traffic.flows("after the failover")
	last := f.lastCut()

	f.wantFailed("none but those that were live at the failover", func(r request) bool {
		return !r.begun.After(last) && r.ended.After(elected)
	})
	for _, a := range f.heard() {
		if a.master == "one" && a.said.After(last) {
			f.t.Errorf("answer to %s of %s: got one that the old master gave at %s; want none from after the cut at %s",
				a.text, a.client, clock(a.said), clock(last))
		}
	}
}

// lastCut is when the last process had cut its connections: the time of its
// line, whose precision is a millisecond.
func (f *fleet) lastCut() time.Time {
	f.t.Helper()
	var last time.Time
	for _, i := range f.instances() {
		i.logs("failover")
		for _, l := range i.logged("failover") {
			if at := l.Time.Add(time.Millisecond); at.After(last) {
				last = at
			}
		}
	}
	return last
}

// heard is every answer that any client has had, of the streams that are over.
func (f *fleet) heard() []answer {
	var all []answer
	for _, r := range f.traffic.asked(time.Time{}) {
		if r.err == nil {
			all = append(all, r.answer)
		}
	}
	for _, s := range f.streams {
		if !s.alive() {
			all = append(all, s.answers...)
		}
	}
	return all
}

// servesTwo checks that whoever comes now is served by the new master alone.
func (f *fleet) servesTwo() {
	f.t.Helper()
	begun := time.Now()
	f.open(longLived)
	f.traffic.flows("by the new master")
	for _, r := range f.traffic.asked(begun) {
		if r.err != nil || r.answer.master != "two" {
			f.t.Errorf("%v; want an answer of two%s", r, f.said(r.client))
		}
	}
}

// TestClientBehindABalancerSeesACutAsFIN: rosproxy resets the balancer, and that ends
// the client's connection in good order, if the client is silent.
func TestClientBehindABalancerSeesACutAsFIN(t *testing.T) {
	t.Parallel()
	eachBalancer(t, func(t *testing.T, balancer string) {
		f := newFleet(t, balancer)
		f.traffic.end()
		c, err := f.network.hosts["client"].dial(t.Context(), f.traffic.to)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(testTimeout)); err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(c)
		if a, err := exchange(c, r, "before"); err != nil || a.master != "one" {
			t.Fatalf("before the failover: got %v, %v; want an answer of one", a, err)
		}
		f.consul.elect(f.two)
		if _, err := r.ReadByte(); howEnded(err) != "FIN" {
			t.Errorf("a client behind %s: got %s; want FIN", balancer, howEnded(err))
		}
		for _, i := range f.instances() {
			i.logs("failover")
		}
	})
}

// TestClientsThatComeWhileThereIsNoMasterWaitBehindHAProxy: an election takes a
// moment, in which HAProxy must not take out the instances that hold the clients.
func TestClientsThatComeWhileThereIsNoMasterWaitBehindHAProxy(t *testing.T) {
	t.Parallel()
	const (
		clients = 200
		without = 2400 * time.Millisecond // more than HAProxy's checks, and its agent's, need to find it out
	)
	f := newFleet(t, "haproxy")
	f.traffic.end() // the streams as well: all that is counted comes later
	f.consul.elect(nil)
	for _, i := range f.instances() {
		eventually(t, i.name+" to know that nobody is master", func() bool {
			l := i.status().Labels[0]
			return l.Master == nil && l.LostSince != nil
		})
	}
	lost := time.Now()
	failed := make(chan request, clients)
	var asking sync.WaitGroup
	for n := range clients {
		time.Sleep(time.Until(lost.Add(without * time.Duration(n) / clients)))
		asking.Go(func() {
			_ = f.network.hosts["client"].Do(func() error {
				if r := f.traffic.ask(); r.err != nil || r.answer.master != "two" {
					failed <- r
				}
				return nil
			})
		})
	}
	held := 0
	for _, i := range f.instances() {
		held += i.status().Labels[0].Held
	}
	time.Sleep(time.Until(lost.Add(without)))
	f.consul.elect(f.two)
	asking.Wait()
	close(failed)
	for r := range failed {
		t.Errorf("%v; want an answer of two%s", r, f.said(r.client))
	}
	if held < clients/2 {
		t.Errorf("held before the election: got %d of %d clients; want most of them", held, clients)
	}
	for _, i := range f.instances() {
		f.haproxy.await(i.name, "UP")
		if i.status().Labels[0].LostSince != nil {
			t.Errorf("%s with a master: got lost_since; want null", i.name)
		}
	}
}

// TestInstancesWithoutAMasterAreDownAndKeepTheirStreams: once their clients have
// waited for long, HAProxy gives them no new connections and knows why, and those
// that live are left alone.
func TestInstancesWithoutAMasterAreDownAndKeepTheirStreams(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "haproxy")
	f.consul.elect(nil)
	for _, i := range f.instances() {
		f.haproxy.await(i.name, "DOWN")
		eventually(t, "HAProxy to be told why "+i.name+" is down", func() bool {
			return strings.Contains(f.haproxy.state(i.name)["last_agt"], "no master: default")
		})
	}
	f.wantUntouched("when nobody is master", f.streams)
	f.consul.elect(f.one) // the same again is no failover
	for _, i := range f.instances() {
		f.haproxy.await(i.name, "UP")
	}
	f.traffic.flows("after the return of the master")
	f.wantUntouched("by the return of the master", f.streams)
}
