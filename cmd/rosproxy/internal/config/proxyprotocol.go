package config

import (
	"net/netip"
	"strings"

	"github.com/rosproxy/rosproxy/proxy"
)

// proxyVersions are the values of --send-proxy.
var proxyVersions = map[string]proxy.ProxyVersion{"off": proxy.ProxyOff, "v1": proxy.ProxyV1, "v2": proxy.ProxyV2}

// loadProxyProtocol reads the flags of the PROXY protocol.
func loadProxyProtocol(s settings, c *Config) error {
	p := &c.Proxy
	accept, err := parseChoice(s, "accept-proxy", "off", "on")
	if err != nil {
		return err
	}
	p.AcceptProxy = accept == "on"
	peers := s.list("accept-proxy-from")
	for _, v := range peers {
		prefix, err := parsePrefix(v)
		if err != nil {
			return err
		}
		p.AcceptProxyFrom = append(p.AcceptProxyFrom, prefix)
	}
	switch {
	case len(peers) > 0 && !p.AcceptProxy:
		return peers[0].fault("has a meaning only with --accept-proxy on")
	case len(peers) == 0 && p.AcceptProxy:
		c.Warnings = append(c.Warnings, "--accept-proxy on without --accept-proxy-from: any peer may name any source")
	}
	send, err := parseChoice(s, "send-proxy", "off", "v1", "v2")
	p.SendProxy = proxyVersions[send]
	return err
}

// parsePrefix reads a CIDR, or an address for the prefix that holds nothing else.
func parsePrefix(v value) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(v.text)
	if address, alone := netip.ParseAddr(v.text); alone == nil && !strings.Contains(v.text, "%") {
		prefix, err = netip.PrefixFrom(address, address.BitLen()), nil
	}
	switch {
	case err != nil:
		return netip.Prefix{}, v.fault("not a CIDR such as 10.0.0.0/8")
	case prefix.Addr().Is4In6() && prefix.Bits() < 96:
		return netip.Prefix{}, v.fault("a prefix of IPv4 in IPv6 is at least 96 bits long")
	}
	return prefix, nil
}
