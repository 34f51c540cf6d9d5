package prometheus

import (
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rosproxy/rosproxy/cmd/internal/freeport"
	"github.com/rosproxy/rosproxy/discovery/consultest"
	"github.com/rosproxy/rosproxy/discovery/datacenter"
)

// tier is instances of rosproxy that are watched, and what they depend on. Each
// label and each instance is named after what befalls it.
type tier struct {
	t       *testing.T
	consul  *consultest.Server // of all but those that have another
	other   *consultest.Server // of splitOff
	going   *consultest.Server // of consulless
	masters [2]*net.TCPAddr

	many       *instance // has labels to which things happen
	splitOff   *instance // believes another Consul, one of whose addresses is dead
	consulless *instance
	reporting  *instance // its fence reports
	full       *instance
	killed     *instance
	between    *instance // two data centres, one of which cannot be reached
}

// The labels.
const (
	settled     = "settled"  // all is well, and its clients come and go
	orphaned    = "orphaned" // its master goes, and its clients come
	flapping    = "flapping"
	contested   = "contested"
	unreachable = "unreachable" // its master refuses connections
	disputed    = "disputed"
	vacant      = "vacant" // never has a master
)

func startTier(t *testing.T) *tier {
	t.Helper()
	w := &tier{t: t, consul: startConsul(t), other: startConsul(t), going: startConsul(t), masters: [2]*net.TCPAddr{startMaster(t), startMaster(t)}}
	dead, err := freeport.Find()
	if err != nil {
		t.Fatal(err)
	}
	nobody, err := freeport.Find()
	if err != nil {
		t.Fatal(err)
	}
	for _, label := range []string{settled, orphaned, flapping, contested, disputed} {
		w.consul.Register(service(label, w.masters[0]))
	}
	w.consul.Register(service(unreachable, &net.TCPAddr{Port: nobody}))
	w.other.Register(service(disputed, w.masters[0]))
	w.going.Register(service(settled, w.masters[0]))

	w.many = startInstance(t, "many", []string{settled, orphaned, flapping, contested, unreachable, disputed},
		"--consul-addr="+w.consul.Addr, "--hold-timeout=10m")
	w.splitOff = startInstance(t, "split-off", []string{disputed, vacant},
		"--consul-addr="+w.other.Addr, "--consul-addr="+freeport.Loopback(dead), "--hold-timeout=100ms")
	w.consulless = startInstance(t, "consulless", []string{settled}, "--consul-addr="+w.going.Addr)
	w.reporting = startInstance(t, "reporting", []string{settled}, "--consul-addr="+w.consul.Addr, "--fence-report=rosproxy/fence", "--fence-ttl=5s")
	w.full = startInstance(t, "full", []string{settled}, "--static-master="+w.masters[0].String(), "--max-conns=8")
	w.killed = startInstance(t, "killed", []string{settled}, "--static-master="+w.masters[0].String())
	w.consul.SetKey("rosproxy/datacenter", string(datacenter.Entry{Active: "dc1", Term: 3, Without: []string{"dc2"}}.Encode()))
	w.between = startInstance(t, "between", []string{settled}, "--consul-addr="+w.consul.Addr, "--consul-datacenter=dc1", "--consul-datacenter=dc2",
		"--fence-report=rosproxy/others")
	for _, i := range w.all() {
		i.awaitMaster(i.status().Labels[0].Label, w.masters[0].String())
	}
	return w
}

func (w *tier) all() []*instance {
	return []*instance{w.many, w.splitOff, w.consulless, w.reporting, w.full, w.killed, w.between}
}

// live are those that are there to the end.
func (w *tier) live() []*instance {
	return slices.DeleteFunc(w.all(), func(i *instance) bool { return i == w.killed })
}

// breakAll brings about what the alerts tell of.
func (w *tier) breakAll() {
	w.t.Helper()
	every(w.t, func() { request(w.many.listen[settled]) })

	w.consul.Deregister(service(orphaned, w.masters[0]).ID)
	w.many.awaitMaster(orphaned, "")
	every(w.t, func() {
		if c, err := net.Dial("tcp", w.many.listen[orphaned]); err == nil {
			w.t.Cleanup(func() { c.Close() })
		}
	})
	every(w.t, func() { request(w.splitOff.listen[vacant]) })
	connect(w.t, w.many.listen[unreachable])

	w.other.Deregister(service(disputed, w.masters[0]).ID)
	w.other.Register(service(disputed, w.masters[1]))
	w.consul.Register(service(contested, w.masters[1]))
	for n := range 6 {
		from, to := w.masters[n%2], w.masters[(n+1)%2]
		w.consul.Txn(func(tx *consultest.Tx) {
			tx.Deregister(service(flapping, from).ID)
			tx.Register(service(flapping, to))
		})
		w.many.awaitMaster(flapping, to.String())
	}

	w.going.Stop()
	w.t.Cleanup(w.consul.DenyKeys("rosproxy/fence"))
	for range 8 {
		connect(w.t, w.full.listen[settled])
	}
	w.full.failUpgrade()
	if err := w.killed.Kill(); err != nil {
		w.t.Fatal(err)
	}
}

// expected is what each alert is expected to tell of, in the labels that matter.
var expected = map[string]map[string]string{
	"RosproxyDown":              {"instance": "killed"},
	"RosproxyNoMaster":          {"instance": "many", "label": orphaned},
	"RosproxyMastersDisagree":   {"label": disputed},
	"RosproxySeveralMasters":    {"instance": "many", "label": contested},
	"RosproxyFailovers":         {"label": flapping},
	"RosproxyClientsTurnedAway": {"instance": "split-off", "label": vacant, "reason": "no_master"},
	"RosproxyHeldGrowing":       {"instance": "many", "label": orphaned},
	"RosproxyNearlyFull":        {"instance": "full"},
	"RosproxyFull":              {"instance": "full"},
	"RosproxyConsulLost":        {"instance": "consulless"},
	"RosproxyConsulAddressLost": {"instance": "split-off"},
	"RosproxyLeaseShort":        {"instance": "reporting", "label": settled},
	"RosproxyUpgradeFailed":     {"instance": "full"},
	"RosproxyDatacenterDown":    {"instance": "between", "datacenter": "dc2"},
}

// TestWatchedTier has one of everything that the alerts tell of happen to a tier
// that the real Prometheus scrapes.
func TestWatchedTier(t *testing.T) {
	w := startTier(t)
	s := startServer(t, w.all()...)
	// Counters that have not been seen to be zero do not grow.
	s.awaitScraped(`count(rosproxy_failovers_total{label="flapping"} == 0) == 1`)
	s.awaitScraped(`count(rosproxy_upgrades_failed_total == 0) == 7`)
	w.breakAll()
	t.Run("every alert fires", func(t *testing.T) { testAlerts(t, s) })
	t.Run("every query of the dashboard returns data", func(t *testing.T) { testDashboard(t, s) })
	t.Run("promtool finds no fault in the metrics", func(t *testing.T) {
		for _, i := range w.live() {
			promtool(t, metricsOf(t, i), "check", "metrics")
		}
	})
	t.Run("the metrics are those of the rules, the dashboard and the reference", func(t *testing.T) { testNames(t, w) })
}

func testAlerts(t *testing.T, s *server) {
	seen := map[string]bool{} // one may end while others begin
	look := func() {
		for _, a := range s.alerts() {
			name := a.Labels["alertname"]
			if want, ok := expected[name]; ok && a.has(want) {
				seen[name] = true
			}
			if a.has(map[string]string{"instance": "many", "label": settled}) {
				t.Fatalf("got %v; want no alert for a label to which nothing happens", a.Labels)
			}
		}
	}
	all := rules(t)
	defer func() {
		for _, r := range all {
			if !seen[r.Alert] {
				t.Errorf("%s has not fired with %v; got %v", r.Alert, expected[r.Alert], s.alerts())
			}
		}
	}()
	eventually(t, "every alert to fire", func() bool { look(); return len(seen) == len(all) })
}

func metricsOf(t *testing.T, i *instance) string {
	t.Helper()
	text, err := i.get("/metrics")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

var metricName = regexp.MustCompile(`rosproxy_[a-z0-9_]+`)

func testNames(t *testing.T, w *tier) {
	types := map[string]bool{} // of what some instance has
	for _, i := range w.live() {
		for line := range strings.Lines(metricsOf(t, i)) {
			if name, ok := strings.CutPrefix(line, "# TYPE rosproxy_"); ok {
				name, _, _ = strings.Cut(name, " ")
				types["rosproxy_"+name] = true
			}
		}
	}
	used := readDashboard(t).expressions()
	for _, r := range rules(t) {
		used = append(used, r.Expr)
	}
	names := metricName.FindAllString(strings.Join(used, "\n"), -1)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if !types[name] && !types[strings.TrimSuffix(name, "_bucket")] {
			t.Errorf("rules or dashboard ask for %s; there is no such metric", name)
		}
	}
	text := read(t, reference)
	for name := range types {
		if !strings.Contains(text, "`"+strings.TrimPrefix(name, "rosproxy_")+"`") {
			t.Errorf("%s does not list the metric %s", reference, name)
		}
	}
}
