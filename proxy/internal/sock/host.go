package sock

import (
	"net"
	"net/netip"
)

// IsOfThisHost reports whether ip is an address of this host. It asks the kernel
// from where it would send to ip: to an address of this host it sends from that
// very address. Connecting a UDP socket sends nothing. A list of the host's
// addresses takes netlink, which a hardened unit does not allow.
func IsOfThisHost(ip netip.Addr) bool {
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
