package admin

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/proxy"
)

func TestStatusAndMetricsSayWhichDataCentreIsActive(t *testing.T) {
	a, _, source := newAdmin(t)
	s := wantJSON(t, ask(a, "GET", "/status"), http.StatusOK)
	for _, field := range []string{"datacenter", "active_datacenter", "term", "datacenters"} {
		if _, has := s[field]; has {
			t.Errorf("with one data centre: got %s in /status; want it left out", field)
		}
	}
	if body := ask(a, "GET", "/metrics").Body.String(); strings.Contains(body, "datacenter") {
		t.Error("with one data centre: got metrics of several")
	}

	source.places = &discovery.DatacentersStatus{Own: "dc2", Active: "dc1", Term: 7, All: []discovery.DatacenterStatus{
		{Name: "dc1", Up: true}, {Name: "dc2", Error: "status 500"},
	}}
	s = wantJSON(t, ask(a, "GET", "/status"), http.StatusOK)
	if s["datacenter"] != "dc2" || s["active_datacenter"] != "dc1" || s["term"] != 7.0 {
		t.Errorf("got %v, %v, %v; want dc2 its own, dc1 active, term 7", s["datacenter"], s["active_datacenter"], s["term"])
	}
	if d := s["datacenters"].([]any)[1].(map[string]any); d["name"] != "dc2" || d["up"] != false || d["error"] != "status 500" {
		t.Errorf("got %v; want dc2 down, with the error", d)
	}
	metrics := strings.Split(ask(a, "GET", "/metrics").Body.String(), "\n")
	for _, want := range []string{
		`rosproxy_active_datacenter{datacenter="dc1"} 1`, `rosproxy_active_datacenter{datacenter="dc2"} 0`,
		`rosproxy_datacenter_up{datacenter="dc1"} 1`, `rosproxy_datacenter_up{datacenter="dc2"} 0`, `rosproxy_datacenter_term 7`,
	} {
		if !slices.Contains(metrics, want) {
			t.Errorf("metrics have no line %s", want)
		}
	}
}

// TestSpareIsUnreadyHoweverLongItHolds: its clients are another instance's to serve.
func TestSpareIsUnreadyHoweverLongItHolds(t *testing.T) {
	a, data, source := newAdmin(t)
	data.snapshot.Labels = []proxy.LabelSnapshot{{Label: "default", Epoch: 2, LostSince: since, LostFor: time.Millisecond}}
	for _, c := range []struct {
		state       discovery.State
		why, reason string
		held        int // with a hold
	}{
		{discovery.Standby, "active data centre is dc1", "standby: active data centre is dc1: default", http.StatusServiceUnavailable},
		{discovery.Inactive, "", "no active data centre: default", http.StatusOK},
	} {
		source.labels = []discovery.LabelStatus{{Label: "default", State: c.state, Why: c.why}}
		v := wantJSON(t, ask(a, "GET", "/readyz"), http.StatusServiceUnavailable)
		if reasons := v["reasons"].([]any); len(reasons) != 1 || reasons[0] != c.reason {
			t.Errorf("got reasons %v; want %q", reasons, c.reason)
		}
		wantJSON(t, ask(a, "GET", "/readyz?hold=1h"), c.held)
	}
}

// TestNoLeaseIsShortWhileNobodyIsActive: there is an alert for short ones.
func TestNoLeaseIsShortWhileNobodyIsActive(t *testing.T) {
	a, _, source := newAdmin(t)
	for state, want := range map[discovery.State]bool{discovery.Inactive: false, discovery.Unreachable: true} {
		source.labels = []discovery.LabelStatus{{Label: "default", State: state, Report: &discovery.ReportStatus{Key: "k"}}}
		if got := strings.Contains(ask(a, "GET", "/metrics").Body.String(), `rosproxy_fence_lease_seconds{label="default"} 0`); got != want {
			t.Errorf("%s: got a lease of 0: %t; want %t", state, got, want)
		}
	}
}
