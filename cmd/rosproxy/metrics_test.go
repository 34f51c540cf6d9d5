package main

import (
	"io"
	"strings"
	"syscall"
	"testing"

	"github.com/rosproxy/rosproxy/discovery/datacenter"
)

// says reports whether the process at the admin address has that line in its metrics.
func (g *generations) says(line string) bool {
	g.t.Helper()
	r, err := g.client.Get("http://rosproxy/metrics")
	if err != nil {
		return false // nobody answers for a moment
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	return err == nil && strings.Contains(string(body), "\n"+line+"\n")
}

func (g *generations) awaitMetric(line string) {
	g.t.Helper()
	g.await(line, func() bool { return g.says(line) })
}

// TestFailedUpgradesAreCounted, by each process for itself, as failovers are: those
// that none took over in, and those whose new process died later.
func TestFailedUpgradesAreCounted(t *testing.T) {
	one := startWorker(t, "one")
	g := startGenerations(t, "--static-master="+one.l.Addr().String())
	live := dialProxy(t, g.listen)
	live.greetedBy(one)
	g.awaitMetric("rosproxy_upgrades_failed_total 0")
	g.keepAs(".real")
	g.replace("exit 1")
	g.signal(g.first, syscall.SIGUSR2)
	g.awaitMetric("rosproxy_upgrades_failed_total 1")
	g.replace(`exec "$0.real" "$@"`)
	next := g.upgrade(g.first)
	g.awaitMetric("rosproxy_upgrades_failed_total 0")
	g.signal(next, syscall.SIGKILL)
	g.awaitMetric("rosproxy_upgrades_failed_total 2")
	live.isAlive()
}

func TestMetricsHaveTheLeaseOfAReportAndAreWithoutWhereThereIsNone(t *testing.T) {
	consul, _, args := reporting(t)
	p := startProgram(t, append(args, "--fence-ttl=5s", "--max-conns=7")...)
	p.awaitReady()
	if got := p.metric(`fence_ttl_seconds{label="default"}`); got != 5 {
		t.Errorf("got a TTL of %v s; want 5", got)
	}
	if got := p.metric(`fence_lease_seconds{label="default"}`); got <= 0 || got > 4 {
		t.Errorf("got a lease of %v s; want more than none and at most four fifths of 5", got)
	}
	if got := p.metric("connections_max"); got != 7 {
		t.Errorf("got at most %v connections; want 7", got)
	}
	undo := consul.DenyKeys(reportPrefix)
	defer undo()
	eventually(t, "the lease to end", func() bool { return p.metric(`fence_lease_seconds{label="default"}`) == 0 })

	_, _, other := follows(t)
	r, err := other.client.Get("http://rosproxy/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if body, err := io.ReadAll(r.Body); err != nil || strings.Contains(string(body), "rosproxy_fence_") {
		t.Errorf("got metrics of a fence report, %v; want none without reports", err)
	}
}

func TestPauseIsAMetricUntilAReadHasNamedTheMaster(t *testing.T) {
	_, _, p := follows(t)
	if got := p.metric(`paused{label="default"}`); got != 0 {
		t.Errorf("got paused %v; want 0", got)
	}
	p.pause("label=default&by=op")
	if got := p.metric(`paused{label="default"}`); got != 1 {
		t.Errorf("got paused %v; want 1", got)
	}
	p.resume()
	eventually(t, "the end of the pause", func() bool { return p.metric(`paused{label="default"}`) == 0 })
}

// TestWarmSpareIsAMetric: its labels have no master, and nothing is wrong with that.
func TestWarmSpareIsAMetric(t *testing.T) {
	consul := startConsul(t)
	activate := func(e datacenter.Entry) { consul.SetKey("rosproxy/datacenter", string(e.Encode())) }
	activate(datacenter.Entry{Active: "dc2", Term: 3})
	p := startProgram(t, "--consul-addr="+consul.Addr, "--consul-datacenter=dc1", "--consul-datacenter=dc2", "--remote-master=hold")
	p.awaitReason("standby: active data centre is dc2: default")
	if got := p.metric(`standby{label="default"}`); got != 1 {
		t.Errorf("got standby %v; want 1", got)
	}
	activate(datacenter.Entry{Active: "dc1", Term: 6, Without: []string{"dc2"}}) // which the double of Consul does not have
	eventually(t, "the spare to serve", func() bool { return p.metric(`standby{label="default"}`) == 0 })
}
