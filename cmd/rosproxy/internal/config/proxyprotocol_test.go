package config

import (
	"net/netip"
	"slices"
	"testing"
)

func TestPeersAreCIDRsOrAddresses(t *testing.T) {
	texts := []string{"10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "::1", "::ffff:192.0.2.0/120", "10.1.2.3/8"}
	args := []string{"--accept-proxy=on"}
	for _, s := range texts {
		args = append(args, "--accept-proxy-from", s)
	}
	var want []netip.Prefix
	for _, s := range []string{"10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32", "::1/128", "::ffff:192.0.2.0/120", "10.1.2.3/8"} {
		want = append(want, netip.MustParsePrefix(s))
	}
	c := mustParse(t, args, nil)
	if !slices.Equal(c.Proxy.AcceptProxyFrom, want) {
		t.Errorf("got %v; want %v", c.Proxy.AcceptProxyFrom, want)
	}
	if want := []string{"--accept-proxy-from 10.1.2.3/8 stands for all of 10.0.0.0/8"}; !slices.Equal(c.Warnings, want) {
		t.Errorf("got warnings %q; want %q", c.Warnings, want)
	}
	c = mustParse(t, nil, []string{"ROSPROXY_ACCEPT_PROXY=on", "ROSPROXY_ACCEPT_PROXY_FROM=10.0.0.0/8, ::1"})
	if want := []netip.Prefix{want[0], want[3]}; !slices.Equal(c.Proxy.AcceptProxyFrom, want) {
		t.Errorf("from the environment: got %v; want %v", c.Proxy.AcceptProxyFrom, want)
	}
}
