package realconsul

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/consultest/internal/ports"
)

// Pair is two data centres, dc1 and dc2, of one server each, joined over the WAN:
// each answers for the other (?dc=). A server that is killed and started again
// comes back with what it had.
type Pair struct {
	DC1, DC2 *Agent

	t testing.TB
}

// The names of the data centres of a Pair.
const (
	DC1 = "dc1"
	DC2 = "dc2"
)

// StartPair starts two data centres, and waits until each answers for the other.
func StartPair(t testing.TB, opts ...Option) *Pair {
	t.Helper()
	wan1, wan2 := wanPort(t), wanPort(t)
	p := &Pair{DC1: newServer(t, DC1, wan1, wan2, opts), DC2: newServer(t, DC2, wan2, wan1, opts), t: t}
	p.DC1.launch()
	p.DC2.launch()
	p.DC1.awaitReady()
	p.DC2.awaitReady()
	p.AwaitJoined()
	return p
}

// newServer makes the one server of a data centre, whose gossip with others is at
// the port wan; that of the other one is at the port other.
func newServer(t testing.TB, dc string, wan, other int, opts []Option) *Agent {
	t.Helper()
	return newAgent(t, "server-"+dc, map[string]any{
		"server": true, "bootstrap_expect": 1, "data_dir": t.TempDir(), "datacenter": dc,
		// By default a server tries to join every 30 s, and waits for answers as far away as another continent.
		"retry_join_wan": []string{fmt.Sprintf("127.0.0.1:%d", other)}, "retry_interval_wan": "1s",
		"gossip_wan": map[string]any{"probe_interval": "500ms", "probe_timeout": "250ms", "gossip_interval": "100ms"},
	}, append([]Option{wanAt(wan)}, opts...))
}

// wanAt has an agent gossip with other data centres at a port.
func wanAt(port int) Option { return func(o *options) { o.wan = port } }

func wanPort(t testing.TB) int {
	t.Helper()
	r, err := ports.Reserve(netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Release)
	return r.Port()
}

// AwaitJoined waits until each data centre answers for the other, as it must be waited for after one was started again.
func (p *Pair) AwaitJoined() {
	p.t.Helper()
	for _, a := range []*Agent{p.DC1, p.DC2} {
		c := a.Impatient()
		for _, dc := range []string{DC1, DC2} {
			a.poll("answer for "+dc, func() error {
				_, _, err := c.KV().Get("nothing", &api.QueryOptions{Datacenter: dc, RequireConsistent: true})
				return err
			})
		}
	}
}
