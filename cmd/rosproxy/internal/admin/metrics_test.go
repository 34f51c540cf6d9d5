package admin

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/rosproxy/rosproxy/drain"
	"github.com/rosproxy/rosproxy/proxy"
)

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func TestMetricsAreTheContracts(t *testing.T) {
	a, data, source := newAdmin(t)
	l := &data.snapshot.Labels[0]
	l.BytesUp, l.BytesDown, l.SplicedBytes = 1, 2, 3
	l.PipesInUse, l.PipeFallbacks, l.DialFailures, l.FailoverDropped = 4, 5, 6, 7
	l.DialErrors = map[string]uint64{"ECONNREFUSED": 5, "other": 1}
	l.Closed[proxy.Failover] = 8
	l.MastersLost = 8
	data.snapshot.MaxConns = 1000
	a.failedUpgrades = func() uint64 { return 3 }
	source.agents[0].LastContact = time.Time{}

	var want strings.Builder
	want.WriteString(`
# HELP rosproxy_connections_closed_total Client connections closed, by reason.
# TYPE rosproxy_connections_closed_total counter
`)
	for r := range proxy.NumReasons {
		n := "0"
		if proxy.Reason(r) == proxy.Failover {
			n = "8"
		}
		want.WriteString(`rosproxy_connections_closed_total{label="default",reason="` + proxy.Reason(r).String() + `"} ` + n + "\n")
	}
	if err := testutil.CollectAndCompare(newCollector(a), strings.NewReader(want.String()), "rosproxy_connections_closed_total"); err != nil {
		t.Error(err)
	}

	body := ask(a, "GET", "/metrics").Body.String()
	for _, line := range []string{
		`rosproxy_connections_active{label="default"} 12`,
		`rosproxy_connections_held{label="default"} 2`,
		`rosproxy_connections_accepted_total{label="default"} 90`,
		`rosproxy_bytes_total{direction="up",label="default"} 1`,
		`rosproxy_bytes_total{direction="down",label="default"} 2`,
		`rosproxy_spliced_bytes_total{label="default"} 3`,
		`rosproxy_pipes_in_use{label="default"} 4`,
		`rosproxy_pipe_fallbacks_total{label="default"} 5`,
		`rosproxy_dial_failures_total{label="default"} 6`,
		`rosproxy_dial_errors_total{error="ECONNREFUSED",label="default"} 5`,
		`rosproxy_dial_errors_total{error="other",label="default"} 1`,
		`rosproxy_dial_seconds_bucket{label="default",le="0.01"} 1`,
		`rosproxy_dial_seconds_bucket{label="default",le="0.1"} 3`,
		`rosproxy_dial_seconds_bucket{label="default",le="+Inf"} 6`,
		`rosproxy_dial_seconds_sum{label="default"} 4.5`,
		`rosproxy_dial_seconds_count{label="default"} 6`,
		`rosproxy_failovers_total{label="default"} 1`,
		`rosproxy_master_lost_total{label="default"} 8`,
		`rosproxy_failover_fence_seconds_count{label="default"} 1`,
		`rosproxy_failover_cut_seconds_count{label="default"} 1`,
		`rosproxy_failover_dropped_total{label="default"} 7`,
		`rosproxy_masters_seen{label="default"} 1`,
		`rosproxy_master_info{address="10.0.0.1:7800",label="default",service_id="sync-1"} 1`,
		`rosproxy_consul_up{address="127.0.0.1:8500"} 1`,
		`rosproxy_consul_errors_total{address="127.0.0.1:8500"} 4`,
		`rosproxy_consul_index_resets_total{address="127.0.0.1:8500"} 1`,
		`rosproxy_paused{label="default"} 0`,
		`rosproxy_connections_max 1000`,
		`rosproxy_upgrades_failed_total 3`,
		`rosproxy_draining 0`,
		`rosproxy_build_info{goversion="go1.26",revision="abc",version="v1.2.3"} 1`,
	} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	for _, name := range []string{"go_goroutines ", "process_start_time_seconds "} {
		if !strings.Contains(body, "\n"+name) {
			t.Errorf("no %s", name)
		}
	}
	if strings.Contains(body, "rosproxy_consul_last_contact_seconds{") {
		t.Error("got a last contact; want none before the first")
	}
	source.agents[0].LastContact = time.Now()
	a.lifecycle.Start(drain.Options{})
	body = ask(a, "GET", "/metrics").Body.String()
	for _, line := range []string{`rosproxy_consul_last_contact_seconds{address="127.0.0.1:8500"}`, "rosproxy_draining 1"} {
		if !strings.Contains(body, line) {
			t.Errorf("no line %s", line)
		}
	}
}

func TestNoMasterHasNoInfoSeries(t *testing.T) {
	a, data, _ := newAdmin(t)
	data.snapshot.Labels[0].Master = proxy.Master{}
	if body := ask(a, "GET", "/metrics").Body.String(); strings.Contains(body, "rosproxy_master_info{") {
		t.Error("got a master_info series; want none without a master")
	}
}

func TestServiceIDThatIsNoUTF8DoesNotCostTheScrape(t *testing.T) {
	a, data, _ := newAdmin(t)
	data.snapshot.Labels[0].Master.ServiceID = "a\xffb"
	w := ask(a, "GET", "/metrics")
	if w.Code != 200 || !strings.Contains(w.Body.String(), `service_id="a?b"`) {
		t.Errorf("got %d; want 200 with the bad byte replaced", w.Code)
	}
}

func TestMetricsAreLintClean(t *testing.T) {
	a, _, _ := newAdmin(t)
	problems, err := promlint.New(strings.NewReader(ask(a, "GET", "/metrics").Body.String())).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "rosproxy_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}
