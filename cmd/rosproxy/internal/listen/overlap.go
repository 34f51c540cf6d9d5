package listen

import (
	"fmt"
	"net/netip"
)

// Overlap reports whether nobody can listen on two addresses, as FixedAddress gives
// them, side by side: they are the same, or one stands for all that the machine has.
// Of link-local ones, which are without their zone, that cannot be told: false.
func Overlap(a, b netip.AddrPort) bool {
	x, y := a.Addr(), b.Addr()
	return a.IsValid() && b.IsValid() && a.Port() == b.Port() &&
		(x == y && !x.IsLinkLocalUnicast() || covers(x, y) || covers(y, x))
}

// covers reports whether a listener on all addresses, if that is what all is, takes those for ip as well.
func covers(all, ip netip.Addr) bool {
	return all.IsUnspecified() && (all.Is6() || ip.Is4())
}

// inTheWay is the error of an address that cannot be opened beside a socket that
// the process was given and nothing uses; nil: there is none such. The kernel
// would say no more than that the address is in use.
func (i *Inherited) inTheWay(address string) error {
	at, ok := FixedAddress(address)
	if !ok {
		return nil
	}
	for _, s := range i.sockets {
		bound, ok := boundTo(s)
		if !ok || !Overlap(at, bound) {
			continue
		}
		owner := "the process before this one"
		if s.Shared {
			owner = "systemd"
		}
		return fmt.Errorf("listen on %q: %s listens on %v (%s), and the two cannot be open side by side: give the address another port, or stop and start anew", address, owner, bound, s.Name)
	}
	return nil
}
