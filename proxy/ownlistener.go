package proxy

import (
	"net/netip"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// isOwnListener reports whether a connection to a would be accepted by one of
// this proxy's listeners.
func (p *Proxy) isOwnListener(a netip.AddrPort) bool {
	for i := range p.listeners.sockets { // no copy: its descriptor is not ours to read
		if LeadsTo(a, p.listeners.sockets[i].bound) {
			return true
		}
	}
	return false
}

// LeadsTo reports whether a connection to a would be accepted by a listener of
// this host that is bound to that address, by whichever of this host's addresses.
func LeadsTo(a, bound netip.AddrPort) bool {
	if bound.Port() != a.Port() || !a.IsValid() {
		return false
	}
	ip, at := a.Addr().Unmap(), bound.Addr()
	return at == ip.WithZone("") || at.IsUnspecified() && (at.Is6() || ip.Is4()) && sock.IsOfThisHost(ip)
}
