package fleet_test

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// drainState is what this package wants of /drain.
type drainState struct {
	State    string    `json:"state"`
	Deadline time.Time `json:"deadline"`
}

// How the tests drain: long enough for a balancer to notice, in the part of
// the time limit of a test suite that is due to them.
const (
	drainGrace   = 2 * time.Second
	drainTimeout = 6 * time.Second
	drainQuery   = "/drain?grace=2s&timeout=6s"
	// Connections are closed in the last fifth of what is left after the grace.
	lastFifth = (drainTimeout - drainGrace) / 5
)

func TestRollingUpgradeByDrainFailsNoRequest(t *testing.T) {
	t.Parallel()
	eachBalancer(t, func(t *testing.T, balancer string) {
		f := newFleet(t, balancer)
		for _, i := range f.instances() {
			mine, others := f.through(i)
			var s drainState
			i.mustAdmin(http.MethodPost, drainQuery+"&exit=true", http.StatusAccepted, &s)
			f.awaitDraining(i)
			i.awaitEnd()
			f.wantEnded(mine, "drain_deadline")
			for _, m := range mine {
				if early := s.Deadline.Add(-lastFifth - time.Second); m.ended.Before(early) {
					t.Errorf("%v; want it untouched until %s%s", m, clock(early), f.said(m.client))
				}
			}
			f.wantUntouched("by the drain of "+i.name, others)
			i.start()
			f.awaitServing(i)
			f.open(len(mine))
		}
		f.wantAllAnswered()
	})
}

// awaitDraining waits until HAProxy knows that the instance drains, and keeps
// its live connections; nginx is never told.
func (f *fleet) awaitDraining(i *instance) {
	f.t.Helper()
	if f.haproxy == nil {
		return
	}
	s := f.haproxy.await(i.name, "DRAIN", "NOLB")
	if s["scur"] == "0" {
		f.t.Errorf("HAProxy's connections to %s, which drains: got none; want those that live", i.name)
	}
}

// awaitServing waits until the balancer gives connections to an instance that
// has just started.
func (f *fleet) awaitServing(i *instance) {
	f.t.Helper()
	eventually(f.t, "connections to "+i.name, func() bool {
		return i.status().Labels[0].Accepted >= requesters
	})
}

func TestDrainThatIsUndoneFailsNoRequest(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "haproxy")
	mine, others := f.through(f.a)
	f.a.mustAdmin(http.MethodPost, "/drain?grace=2s&timeout=10m", http.StatusAccepted, nil)
	// Each of HAProxy's two ways of asking is enough to know. Its state shows
	// the one that came last, so of the agent's its log tells.
	f.haproxy.await("a", "DRAIN", "NOLB")
	eventually(t, "HAProxy to have its 404", func() bool { return f.haproxy.state("a")["check_code"] == "404" })
	eventually(t, "HAProxy to have its agent's word", func() bool {
		return strings.Contains(f.haproxy.process.output(), "Server rosproxy/a enters drain state")
	})
	eventually(t, "the end of the grace", func() bool {
		var s struct{ Accepting bool }
		f.a.mustAdmin(http.MethodGet, "/drain", http.StatusOK, &s)
		return !s.Accepting
	})
	f.wantUntouched("while a drains", mine)

	f.a.mustAdmin(http.MethodDelete, "/drain", http.StatusOK, nil)
	before := f.a.status().Labels[0].Accepted
	f.haproxy.await("a", "UP")
	eventually(t, "connections to a again", func() bool { return f.a.status().Labels[0].Accepted >= before+requesters })
	f.wantUntouched("by a drain that was undone", append(mine, others...))
	f.wantAllAnswered()
}

// TestDrainAnswersEveryConnectionThatWasMade: without a balancer clients are
// refused when accepting has ended, but none that has connected is lost.
func TestDrainAnswersEveryConnectionThatWasMade(t *testing.T) {
	t.Parallel()
	f := newAlone(t)
	f.traffic.add(16, 0) // so that connections are in the queue when it closes
	for range 5 {
		begun := time.Now()
		f.a.mustAdmin(http.MethodPost, "/drain?grace=0s&timeout=10m", http.StatusAccepted, nil)
		eventually(t, "refused requests", func() bool { return slices.ContainsFunc(f.traffic.asked(begun), refused) })
		f.a.mustAdmin(http.MethodDelete, "/drain", http.StatusOK, nil)
		f.traffic.flows("after a drain that was undone")
	}
	f.wantUntouched("by drains that were undone", f.streams)
	f.wantFailed("none but those that were refused", refused)
}

func refused(r request) bool { return errors.Is(r.err, syscall.ECONNREFUSED) }

func TestOnlyTheBalancerMayConnect(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "haproxy")
	client := f.network.hosts["client"]
	c, err := client.dial(t.Context(), net.JoinHostPort(f.a.host.ip, proxyPort))
	if err == nil {
		defer c.Close()
		_, err = exchange(c, bufio.NewReader(c), "PROXY TCP4 10.77.0.99 10.77.0.11 1 7800")
	}
	if howEnded(err) != "RST" {
		t.Errorf("client that comes past the balancer: got %v; want a reset", err)
	}
	eventually(t, "the log to say so", func() bool {
		for _, l := range f.a.logged("connection closed") {
			if strings.HasPrefix(l.Client, client.ip+":") {
				if l.Reason != "untrusted_peer" || l.Source != "" {
					t.Fatalf("got reason %q, source %q; want untrusted_peer and none: %s", l.Reason, l.Source, l.text)
				}
				return true
			}
		}
		return false
	})
	f.wantAllAnswered()
}
