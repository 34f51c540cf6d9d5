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
	s := describeService(c, l)
	if l.Leader != nil {
		s = describeLeader(c, l)
	}
	if d.Datacenter != "" {
		s += " in " + d.Datacenter
	}
	if len(d.Datacenters) > 0 {
		s += " in the active data centre, of " + strings.Join(d.Datacenters, ", ")
		if d.RemoteMaster == discovery.HoldRemote {
			s += ", held while that is another one"
		}
	}
	if d.OnOutage == discovery.Fence {
		s += fmt.Sprintf(", fenced after %v", d.FenceAfter)
	}
	if d.OnConflict == discovery.Refuse {
		s += ", conflicts refused"
	}
	s += ", " + describeLost(d)
	if r := d.Reports; r != nil {
		s += fmt.Sprintf(", reported below %s as %s with a TTL of %v", r.Prefix, r.Instance, r.TTL)
	}
	return s
}

func describeService(c config.Config, l discovery.Label) string {
	return "service " + c.Discovery.Of(l).Service + " with tags " + strings.Join(c.Discovery.TagsOf(l), ", ")
}

// describeLeader tells what is read of a leader key, and when its leader is ready.
func describeLeader(c config.Config, l discovery.Label) string {
	format, lock, ready := "address", "required", "now"
	if l.Leader.Format == discovery.PatroniFormat {
		format = "patroni"
	}
	if l.Leader.LockIgnored {
		lock = "ignored"
	}
	switch l.Leader.Ready {
	case discovery.ReadyAPI:
		ready = "api"
	case discovery.ReadyCatalog:
		ready = "catalog, by " + describeService(c, l)
	}
	return fmt.Sprintf("leader key %s, format %s, lock %s, ready %s", l.Leader.Key, format, lock, ready)
}

// describeLost tells what becomes of live connections when the master is gone.
func describeLost(d discovery.Config) string {
	switch {
	case d.OnLost == discovery.KeepLive:
		return "on-lost keep"
	case d.LostAfter == 0:
		return "on-lost cut"
	}
	return fmt.Sprintf("on-lost cut after %v", d.LostAfter)
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
