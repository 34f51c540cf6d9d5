package check

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/proxy"
)

// listListeners prints what would run, listener by listener.
func listListeners(r *report, c config.Config) {
	for i, l := range c.Proxy.Listeners { // the labels are in their order
		r.ok("configuration: listener %s on %s: %s; %s", l.Label, l.Address,
			describeSource(c, c.Discovery.Labels[i]), describeSettings(c.SettingsOf(l)))
	}
}

// describeSource tells where a label's master comes from.
func describeSource(c config.Config, l discovery.Label) string {
	if address := c.Static[l.Name]; address != "" {
		return "static master " + address
	}
	d := c.Discovery.Of(l)
	s := "service " + d.Service + " with tags " + strings.Join(c.Discovery.TagsOf(l), ", ")
	if d.Datacenter != "" {
		s += " in " + d.Datacenter
	}
	if d.OnOutage == discovery.Fence {
		s += fmt.Sprintf(", fenced after %v", d.FenceAfter)
	}
	if d.OnConflict == discovery.Refuse {
		s += ", conflicts refused"
	}
	return s
}

func describeSettings(p proxy.Settings) string {
	drop := "rst"
	if p.DropFIN {
		drop = "fin"
	}
	s := fmt.Sprintf("hold %v, connect %v, idle %s, drop %s", p.HoldTimeout, p.ConnectTimeout, orNever(p.IdleTimeout), drop)
	if p.ReleaseRate > 0 {
		s += fmt.Sprintf(", %d held clients released a second", p.ReleaseRate)
	}
	if p.AcceptProxy {
		s += ", PROXY headers accepted from " + describePeers(p.AcceptProxyFrom)
	}
	if p.SendProxy != proxy.ProxyOff {
		s += fmt.Sprintf(", PROXY header v%d sent", p.SendProxy)
	}
	return s
}

func orNever(d time.Duration) string {
	if d == 0 {
		return "never"
	}
	return d.String()
}

func describePeers(peers []netip.Prefix) string {
	if len(peers) == 0 {
		return "anybody"
	}
	var s []string
	for _, p := range peers {
		s = append(s, p.String())
	}
	return strings.Join(s, ", ")
}
