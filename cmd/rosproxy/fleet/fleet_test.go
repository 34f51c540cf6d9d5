package fleet_test

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// fleet is two instances, what is in front of them and what is behind.
type fleet struct {
	t        *testing.T
	network  *network
	consul   *consul
	one, two *master // one is elected
	a, b     *instance
	haproxy  *haproxy // nil: nginx is in front
	traffic  *traffic
	streams  []*stream
}

// balancers are what a fleet may have in front.
var balancers = []string{"haproxy", "nginx"}

// eachBalancer runs a test with each balancer in front of the instances.
func eachBalancer(t *testing.T, test func(t *testing.T, balancer string)) {
	for _, name := range balancers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, name)
		})
	}
}

// longLived is how many streams a fleet has.
const longLived = 12

// newFleet starts a fleet with two instances behind a balancer, short requests
// and streams through both. More flags for the instances may be given.
func newFleet(t *testing.T, balancer string, flags ...string) *fleet {
	t.Helper()
	f := newTier(t)
	front := f.network.hosts["balancer"]
	flags = append([]string{"--accept-proxy=on", "--accept-proxy-from=" + front.ip + "/32"}, flags...)
	f.a, f.b = f.startInstance("a", flags...), f.startInstance("b", flags...)
	switch balancer {
	case "haproxy":
		f.haproxy = startHAProxy(t, front)
	case "nginx":
		startNginx(t, front)
	}
	f.load(front)
	return f
}

// newAlone starts a fleet of one instance without a balancer: nobody tries
// again for a client that is turned away.
func newAlone(t *testing.T, flags ...string) *fleet {
	t.Helper()
	f := newTier(t)
	f.a = f.startInstance("a", flags...)
	f.load(f.a.host)
	return f
}

// startInstance starts an instance that follows the fleet's Consul.
func (f *fleet) startInstance(name string, flags ...string) *instance {
	f.t.Helper()
	h := f.network.hosts[name]
	all := append([]string{"--consul-addr=" + f.consul.address, "--agent-check-listen=" + h.ip + ":" + agentPort, "--send-proxy=v2"}, flags...)
	i := newInstance(f.t, name, h, all...)
	i.start()
	return i
}

// load starts the fleet's traffic, which goes to a host.
func (f *fleet) load(to *host) {
	f.t.Helper()
	f.traffic = startTraffic(f.t, f.network.hosts["client"], net.JoinHostPort(to.ip, proxyPort))
	f.open(longLived)
}

// newTier makes the hosts, and starts Consul and the masters.
func newTier(t *testing.T) *fleet {
	t.Helper()
	f := newHosts(t)
	hosts := f.network.hosts
	f.consul = startConsul(t, hosts["consul"])
	f.one, f.two = startMaster(t, "one", hosts["one"]), startMaster(t, "two", hosts["two"])
	f.consul.register(f.one, f.two)
	return f
}

// newHosts makes the hosts of a fleet, on which nothing runs.
func newHosts(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{t: t, network: newNetwork(t)}
	for name, ip := range map[string]string{
		"client": "10.77.0.2", "consul": "10.77.0.5", "balancer": "10.77.0.10",
		"a": "10.77.0.11", "b": "10.77.0.12", "one": "10.77.0.21", "two": "10.77.0.22",
	} {
		f.network.host(name, ip)
	}
	return f
}

// instances are those that the fleet has.
func (f *fleet) instances() []*instance {
	return slices.DeleteFunc([]*instance{f.a, f.b}, func(i *instance) bool { return i == nil })
}

// open opens more streams, which count as the fleet's.
func (f *fleet) open(count int) []*stream {
	f.t.Helper()
	opened := f.traffic.open(count)
	f.streams = append(f.streams, opened...)
	return opened
}

// through divides the streams that live: those through the instance, and the
// others. Both must be some.
func (f *fleet) through(i *instance) (mine, others []*stream) {
	f.t.Helper()
	here := i.sources()
	for _, s := range f.streams {
		switch {
		case !s.alive():
		case here[s.client]:
			mine = append(mine, s)
		default:
			others = append(others, s)
		}
	}
	if len(mine) == 0 || len(others) == 0 {
		f.t.Fatalf("streams through %s and elsewhere: got %d and %d; want some of each", i.name, len(mine), len(others))
	}
	return mine, others
}

// wantAllAnswered checks that not one short request has failed.
func (f *fleet) wantAllAnswered() {
	f.t.Helper()
	f.wantFailed("none", func(request) bool { return false })
}

// wantFailed checks that requests have failed only where the design allows it.
func (f *fleet) wantFailed(allowed string, may func(request) bool) {
	f.t.Helper()
	const shown = 8
	failed := slices.DeleteFunc(f.traffic.failed(), may)
	for n, r := range failed {
		if n == shown {
			f.t.Logf("and %d more", len(failed)-shown)
			break
		}
		f.t.Logf("%v%s", r, f.said(r.client))
	}
	if len(failed) > 0 {
		f.t.Errorf("failed requests: got %d of %d; want %s", len(failed), len(f.traffic.asked(time.Time{})), allowed)
	}
}

// wantUntouched checks that nothing has ended the streams.
func (f *fleet) wantUntouched(when string, streams []*stream) {
	f.t.Helper()
	for _, s := range streams {
		if !s.alive() {
			f.t.Errorf("%v; want it untouched %s%s", s, when, f.said(s.client))
		}
	}
}

// wantEnded waits until the streams have ended, each for the reason given, as
// the log of the instance says that it went through.
func (f *fleet) wantEnded(streams []*stream, reason string) {
	f.t.Helper()
	f.awaitOver(streams)
	var ends map[*stream]line
	eventually(f.t, "the logs to say how the streams have ended", func() bool {
		ends = f.ends(streams)
		return len(ends) == len(streams)
	})
	for s, l := range ends {
		if l.Reason != reason {
			f.t.Errorf("%v: got reason %q; want %q%s", s, l.Reason, reason, f.said(s.client))
		}
	}
}

// awaitOver waits until the streams have ended, whatever for.
func (f *fleet) awaitOver(streams []*stream) {
	f.t.Helper()
	deadline := time.After(testTimeout)
	for _, s := range streams {
		select {
		case <-s.over:
		case <-deadline:
			f.t.Fatalf("%v after %v; want it ended%s", s, testTimeout, f.said(s.client))
		}
	}
}

// ends finds the lines that tell of the ends of streams. A client's port is
// given to another connection when the stream is over, so it is the line of the
// one that shares the most time with the stream.
func (f *fleet) ends(streams []*stream) map[*stream]line {
	f.t.Helper()
	byClient := map[string][]line{}
	for _, i := range f.instances() {
		for _, l := range i.logged("connection closed") {
			client := realClient(l.Client, l.Source)
			byClient[client] = append(byClient[client], l)
		}
	}
	ends := map[*stream]line{}
	for _, s := range streams {
		var most time.Duration
		for _, l := range byClient[s.client] {
			if shared := l.shared(s.begun, s.ended); shared > most {
				most, ends[s] = shared, l
			}
		}
	}
	return ends
}

// said is what the logs of the instances say of a client, to be shown below a failure.
func (f *fleet) said(client string) string {
	var text strings.Builder
	for _, i := range f.instances() {
		for _, l := range i.log() {
			if client != "" && realClient(l.Client, l.Source) == client {
				fmt.Fprintf(&text, "\n    %s: %s", i.name, l.text)
			}
		}
	}
	if text.Len() == 0 {
		return "\n    the logs do not know this client"
	}
	return text.String()
}
