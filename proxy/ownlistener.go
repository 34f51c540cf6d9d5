package proxy

import (
	"net"
	"net/netip"
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
	return at == ip.WithZone("") || at.IsUnspecified() && (at.Is6() || ip.Is4()) && isOfThisHost(ip)
}

// isOfThisHost asks the kernel from where it would send to ip: to an address of
// this host it sends from that very address. Connecting a UDP socket sends nothing.
// A list of the host's addresses takes netlink, which a hardened unit does not allow.
func isOfThisHost(ip netip.Addr) bool {
	if ip.IsLoopback() || ip.IsUnspecified() {
		return true
	}
	const discard = 9 // any port will do
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, discard)))
	if err != nil {
		return false
	}
	defer c.Close()
	from, ok := c.LocalAddr().(*net.UDPAddr)
	return ok && from.AddrPort().Addr().Unmap().WithZone("") == ip.WithZone("")
}
