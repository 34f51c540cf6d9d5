package consul

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The master of the moment must be what both ways of asking tell: rosproxy
// asks by HTTP, HAProxy by DNS.
func TestElectionIsSeenByHTTPAndDNS(t *testing.T) {
	a, err := StartDev(t.Context(), binary(t), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer a.Stop()
	candidates := []Candidate{
		{ID: "sync-1", Address: netip.MustParseAddrPort("127.0.1.1:7801")},
		{ID: "sync-2", Address: netip.MustParseAddrPort("127.0.1.2:7802")},
	}
	for i, c := range candidates {
		if err := a.Register(t.Context(), c, i == 0); err != nil {
			t.Fatal(err)
		}
	}
	expectMaster(t, a, candidates[0])
	for i, c := range candidates {
		if err := a.Register(t.Context(), c, i == 1); err != nil {
			t.Fatal(err)
		}
	}
	expectMaster(t, a, candidates[1])
	if err := a.Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := masters(t, a); len(got) != 0 {
		t.Errorf("masters of a forgotten service: got %v; want none", got)
	}
}

func binary(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../../../bin/consul")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("find the consul to test with: %v; run make consul", err)
	}
	return path
}

func masters(t *testing.T, a *Agent) []string {
	t.Helper()
	var entries []struct{ Service struct{ ID string } }
	if err := a.call(t.Context(), http.MethodGet, "/v1/health/service/"+Service+"?tag=role=master&tag=label=default&passing", nil, &entries); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, e := range entries {
		ids = append(ids, e.Service.ID)
	}
	return ids
}

func expectMaster(t *testing.T, a *Agent, c Candidate) {
	t.Helper()
	if got := masters(t, a); len(got) != 1 || got[0] != c.ID {
		t.Errorf("masters by HTTP: got %v; want %s", got, c.ID)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	dns := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", a.DNS)
	}}
	_, got, err := dns.LookupSRV(ctx, Service, "master", "service.consul")
	if err != nil || len(got) != 1 || got[0].Port != c.Address.Port() {
		t.Fatalf("masters by DNS: got %v, %v; want port %d", got, err, c.Address.Port())
	}
	ips, err := dns.LookupNetIP(ctx, "ip4", got[0].Target)
	if err != nil || len(ips) != 1 || ips[0].Unmap() != c.Address.Addr() {
		t.Errorf("address of the master by DNS: got %v, %v; want %s", ips, err, c.Address.Addr())
	}
}
