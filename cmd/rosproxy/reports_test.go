package main

import (
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/api"
	"github.com/rosproxy/rosproxy/discovery/consultest"
	"github.com/rosproxy/rosproxy/discovery/fence"
)

const reportPrefix = "rosproxy/fence"

// reportsIn are the fence reports that Consul has, by the process that writes them.
func reportsIn(t *testing.T, consul *consultest.Server) map[int]fence.Entry {
	t.Helper()
	pairs, _, err := consul.Client().KV().List(reportPrefix+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	all := map[int]fence.Entry{}
	for _, p := range pairs {
		e, err := fence.Parse(p.Value)
		if err != nil {
			t.Fatalf("report %s: %v", p.Key, err)
		}
		all[e.PID] = e
	}
	return all
}

// awaitReports waits until those processes alone have a report with the label.
func awaitReports(t *testing.T, consul *consultest.Server, pids ...int) {
	t.Helper()
	slices.Sort(pids)
	var got map[int]fence.Entry
	defer func() {
		if t.Failed() {
			t.Logf("reports: %+v", got)
		}
	}()
	eventually(t, "the reports of those that live", func() bool {
		got = reportsIn(t, consul)
		for pid, e := range got {
			if _, ok := e.Labels["default"]; !ok {
				delete(got, pid)
			}
		}
		return slices.Equal(slices.Sorted(maps.Keys(got)), pids)
	})
}

// reporting starts Consul with one master, and gives the flags with which that is
// followed and reported.
func reporting(t *testing.T) (consul *consultest.Server, one *worker, args []string) {
	t.Helper()
	consul, one = startConsul(t), startWorker(t, "one")
	consul.Register(one.service(asMaster, inGroup))
	return consul, one, []string{"--consul-addr=" + consul.Addr, "--fence-report=" + reportPrefix, "--instance=p1"}
}

func TestStatusHasTheReportAndItsLease(t *testing.T) {
	consul, one, args := reporting(t)
	p := startProgram(t, append(args, "--fence-ttl=10s")...)
	p.awaitReady()
	p.connected(one)
	l := p.label().FenceReport
	if l == nil || !strings.HasPrefix(l.Key, reportPrefix+"/p1-") || l.Obeyed == 0 || l.Lease <= 0 || l.Lease > 8 || l.Error != "" {
		t.Fatalf("got report %+v; want one of p1 with a lease of 8 s at most", l)
	}
	for pid, e := range reportsIn(t, consul) {
		if e.TTL != 10 || e.Instance != "p1" || e.Labels["default"].Obeyed < l.Obeyed {
			t.Errorf("got report of %d %+v; want what /status says: %+v", pid, e, l)
		}
	}
	undo := consul.DenyKeys(reportPrefix)
	defer undo()
	eventually(t, "the error", func() bool { return strings.Contains(p.label().FenceReport.Error, "denied") })
	p.saysOnce("fence report cannot be written", "prefix", reportPrefix)
}

func TestLabelWithoutReportsHasNoneInTheStatus(t *testing.T) {
	_, _, p := follows(t)
	if r := p.label().FenceReport; r != nil {
		t.Errorf("got report %+v; want none", r)
	}
}

// TestLeaseThatEndsCutsAndSaysSo: where the report cannot be written any more.
func TestLeaseThatEndsCutsAndSaysSo(t *testing.T) {
	consul, one, args := reporting(t)
	p := startProgram(t, append(args, "--fence-ttl=5s")...)
	p.awaitReady()
	live := p.connected(one)
	undo := consul.DenyKeys(reportPrefix)
	live.isReset()
	p.awaitReason("consul unreachable: default")
	p.saysOnce("failover", "from", one.l.Addr().String(), "to", "", "reason", "lease")
	if _, r := p.ready(); !strings.HasPrefix(r.Why["default"], "the lease of its fence report is over: denied: ") {
		t.Errorf("/readyz: got why %q; want that the lease is over, and what keeps the report", r.Why["default"])
	}
	if r := p.label().FenceReport; r.Lease != 0 {
		t.Errorf("got a lease of %v s; want none", r.Lease)
	}
	undo()
	p.awaitReady()
	p.connected(one)
	p.saysOnce("fence report is written again")
}

func TestReportIsTakenAwayAtTheEndOfADrain(t *testing.T) {
	consul, one, args := reporting(t)
	g := startGenerations(t, args...)
	live := dialProxy(t, g.listen)
	live.greetedBy(one)
	awaitReports(t, consul, g.first)
	g.signal(g.first, syscall.SIGTERM)
	g.awaitStatus("the drain", func(s api.Status) bool { return s.State == "stopping" || s.State == "draining" })
	live.isAlive()
	awaitReports(t, consul, g.first) // as long as it has a connection
	live.Close()
	g.awaitGone(g.first)
	awaitReports(t, consul)
}

func TestReportIsTakenAwayAtASecondSignal(t *testing.T) {
	consul, one, args := reporting(t)
	g := startGenerations(t, args...)
	dialProxy(t, g.listen).greetedBy(one)
	awaitReports(t, consul, g.first)
	g.signal(g.first, syscall.SIGTERM)
	g.awaitStatus("the drain", func(s api.Status) bool { return s.State != "serving" })
	g.signal(g.first, syscall.SIGTERM)
	g.awaitGone(g.first)
	awaitReports(t, consul)
}

// TestConsulThatIsAwayHoldsUpTheEndForAMomentOnly: the report is dead after its TTL then.
func TestConsulThatIsAwayHoldsUpTheEndForAMomentOnly(t *testing.T) {
	consul, _, args := reporting(t)
	g := startGenerations(t, args...)
	awaitReports(t, consul, g.first)
	consul.Stop()
	began := time.Now()
	g.signal(g.first, syscall.SIGTERM)
	g.awaitGone(g.first)
	if d := time.Since(began); d < withdrawTimeout {
		t.Errorf("ended after %v; want it to try for %v", d, withdrawTimeout)
	}
}

// TestEachGenerationReportsForItselfUntilItsLastConnectionHasEnded, and the last
// one until its end.
func TestEachGenerationReportsForItselfUntilItsLastConnectionHasEnded(t *testing.T) {
	consul, one, args := reporting(t)
	g := startGenerations(t, args...)
	live := dialProxy(t, g.listen)
	live.greetedBy(one)
	awaitReports(t, consul, g.first)
	next := g.upgrade(g.first)
	awaitReports(t, consul, g.first, next)
	newer := dialProxy(t, g.listen)
	newer.greetedBy(one)
	last := g.upgrade(next)
	awaitReports(t, consul, g.first, next, last)
	live.Close()
	g.awaitGone(g.first)
	awaitReports(t, consul, next, last)
	newer.isAlive()
	newer.Close()
	g.awaitGone(next)
	awaitReports(t, consul, last)
	g.signal(last, syscall.SIGTERM)
	g.awaitGone(last)
	awaitReports(t, consul)
}

// TestReportOfAKilledProcessIsTakenAwayByTheNextStart, at once: its TTL is an
// hour here. Nobody else's is.
func TestReportOfAKilledProcessIsTakenAwayByTheNextStart(t *testing.T) {
	consul, one, args := reporting(t)
	args = append(args, "--fence-ttl=1h")
	g := startGenerations(t, args...)
	dialProxy(t, g.listen).greetedBy(one)
	other := startGenerations(t, args...) // the same instance, on this host, and alive
	awaitReports(t, consul, g.first, other.first)
	elsewhere := fence.Entry{Instance: "p1", PID: g.first, Boot: "another host", TTL: 3600, Labels: map[string]fence.State{}}
	consul.SetKey(reportPrefix+"/p1-elsewhere", string(elsewhere.Encode()))
	g.signal(g.first, syscall.SIGKILL)
	_ = g.cmd.Wait()
	if _, there := reportsIn(t, consul)[g.first]; !there {
		t.Fatal("the report of the killed process is gone before anybody takes it away")
	}
	again := startGenerations(t, args...)
	awaitReports(t, consul, other.first, again.first)
	if pair, _, err := consul.Client().KV().Get(reportPrefix+"/p1-elsewhere", nil); err != nil || pair == nil {
		t.Errorf("got report of another host %v, %v; want it untouched", pair, err)
	}
}
