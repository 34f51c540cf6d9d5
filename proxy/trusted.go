package proxy

import (
	"fmt"
	"net/netip"
)

// trusted are the peers that may name the source of a connection.
type trusted []netip.Prefix

// trustedOf takes prefixes of IPv4 that are written as IPv6 (::ffff:10.0.0.0/104)
// for what they mean: peers are compared as IPv4. No prefix at all is every peer.
func trustedOf(from []netip.Prefix) (trusted, error) {
	var t trusted
	for _, p := range from {
		bits := p.Bits()
		if p.Addr().Is4In6() {
			bits -= 96
		}
		if bits < 0 { // or it is the zero prefix
			return nil, fmt.Errorf("trust PROXY headers from %v: not a prefix of IPv4 or of IPv6", p)
		}
		t = append(t, netip.PrefixFrom(p.Addr().Unmap(), bits))
	}
	return t, nil
}

func (t trusted) contains(peer netip.Addr) bool {
	for _, p := range t {
		if p.Contains(peer) {
			return true
		}
	}
	return len(t) == 0
}
