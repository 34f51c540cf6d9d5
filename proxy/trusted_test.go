package proxy

import (
	"net/netip"
	"testing"
)

func TestTrustedPeersAreComparedAsIPv4WhereTheyAre(t *testing.T) {
	prefixes := func(texts ...string) (out []netip.Prefix) {
		for _, s := range texts {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	for _, c := range []struct {
		from []netip.Prefix
		peer string
		want bool
	}{
		{nil, "192.0.2.1", true},
		{prefixes("10.0.0.0/8"), "10.255.0.1", true},
		{prefixes("10.0.0.0/8"), "11.0.0.1", false},
		{prefixes("10.0.0.1/8"), "10.255.0.1", true},
		{prefixes("::ffff:10.0.0.0/104"), "10.0.0.1", true},
		{prefixes("::ffff:10.0.0.0/104"), "11.0.0.1", false},
		{prefixes("0.0.0.0/0"), "::1", false},
		{prefixes("::/0"), "10.0.0.1", false},
		{prefixes("10.0.0.0/8", "::1/128"), "::1", true},
	} {
		trusted, err := trustedOf(c.from)
		if err != nil {
			t.Errorf("%v: %v", c.from, err)
		} else if got := trusted.contains(netip.MustParseAddr(c.peer)); got != c.want {
			t.Errorf("%v, peer %s: got %v; want %v", c.from, c.peer, got, c.want)
		}
	}
	for _, p := range []netip.Prefix{{}, netip.MustParsePrefix("::ffff:0.0.0.0/95")} {
		if _, err := trustedOf([]netip.Prefix{p}); err == nil {
			t.Errorf("%v: got no error; want one", p)
		}
	}
}
