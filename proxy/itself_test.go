package proxy

import (
	"net"
	"net/netip"
	"testing"
)

func TestAddressesOfThisHostAreKnownAndOthersAreNot(t *testing.T) {
	own, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	any4, any6 := netip.MustParseAddrPort("0.0.0.0:7800"), netip.MustParseAddrPort("[::]:7800")
	for _, a := range own {
		ip, ok := netip.AddrFromSlice(a.(*net.IPNet).IP)
		if ip = ip.Unmap(); !ok || ip.IsLinkLocalUnicast() { // of which one has to say the interface
			continue
		}
		at := netip.AddrPortFrom(ip, 7800)
		if !LeadsTo(at, any6) || ip.Is4() && !LeadsTo(at, any4) {
			t.Errorf("%v: got no way to a listener on all addresses; want one, it is of this host", at)
		}
		if LeadsTo(netip.AddrPortFrom(ip, 7801), any6) {
			t.Errorf("%v: got a way to another port; want none", at)
		}
	}
	for _, ip := range []string{"192.0.2.1", "2001:db8::1", "255.255.255.255", "224.0.0.1", "ff02::1"} { // documentation, broadcast, multicast
		if at := netip.AddrPortFrom(netip.MustParseAddr(ip), 7800); LeadsTo(at, any6) {
			t.Errorf("%v: got a way to our listener; want none", at)
		}
	}
}
