package main

import (
	"net/netip"
	"testing"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/proxy"
)

// TestLossReachesTheLogAsDiscoveryPutsIt: in its words where it has some, in one
// line, and as a lost master only where Consul says that there is none.
func TestLossReachesTheLogAsDiscoveryPutsIt(t *testing.T) {
	for _, c := range []struct {
		name        string
		loss        discovery.Loss
		lost        bool
		connections string
		reason      string
	}{
		{"kept", discovery.Loss{State: discovery.None}, true, "kept", "no master"},
		{"cut, and why", discovery.Loss{State: discovery.None, Why: "no session holds\nthe key", Cut: true}, true, "cut", "no session holds the key"},
		{"conflict", discovery.Loss{State: discovery.Conflict, Cut: true}, false, "cut", "conflict"},
		{"outage", discovery.Loss{State: discovery.Unreachable, Cut: true}, false, "cut", "consul unreachable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := &syncBuffer{}
			p, err := proxy.New(proxy.Config{Listeners: []proxy.Listener{{Label: "a", Address: "127.0.0.1:0"}}, Shards: 1}, zerolog.New(log))
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			s := sink{proxy: p}
			s.SetMaster("a", discovery.Master{Address: netip.MustParseAddrPort("192.0.2.1:1")})
			s.ClearMaster("a", c.loss)
			lost, failovers := log.lines(t, "master lost"), log.lines(t, "failover")
			if (len(lost) == 1) != c.lost || (len(failovers) == 1) != c.loss.Cut {
				t.Fatalf("got %v and %v; want a master lost: %t, a failover: %t", lost, failovers, c.lost, c.loss.Cut)
			}
			if c.lost && (lost[0]["connections"] != c.connections || lost[0]["reason"] != c.reason) {
				t.Errorf("got %v; want connections %s, reason %s", lost[0], c.connections, c.reason)
			}
			if c.loss.Cut && failovers[0]["reason"] != c.reason {
				t.Errorf("got %v; want reason %s", failovers[0], c.reason)
			}
		})
	}
}
