package proxy_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/proxy"
)

// TestRefusedClientsAreLoggedOnceASecond: all are counted, also those after the
// last line when no other comes.
func TestRefusedClientsAreLoggedOnceASecond(t *testing.T) {
	noLeaks(t)
	c := config()
	c.AcceptProxy, c.AcceptProxyFrom = true, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	r, log := newLoggedProxy(t, c)
	const clients = 50
	began := time.Now()
	for range clients {
		if c, err := dialTCP(r.addrs["default"]); err == nil { // else it was reset at once
			c.Close()
		}
	}
	counted := func() (n int) {
		for _, l := range log.with(t, "clients refused") {
			if l["level"] != "info" || l["reason"] != proxy.UntrustedPeer.String() || l["label"] != "default" {
				t.Fatalf("got %v; want the reason and the label at info", l)
			}
			n += int(l["count"].(float64))
		}
		return n
	}
	waitEqual(t, "refused clients in the log", clients, counted)
	if lines, most := len(log.with(t, "clients refused")), 2+int(time.Since(began)/time.Second); lines > most {
		t.Errorf("lines in %v: got %d; want %d at most", time.Since(began), lines, most)
	}
}
