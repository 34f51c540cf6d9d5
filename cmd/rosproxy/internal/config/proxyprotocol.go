package config

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/rosproxy/rosproxy/proxy"
)

// proxyVersions are the values of --send-proxy.
var proxyVersions = map[string]proxy.ProxyVersion{"off": proxy.ProxyOff, "v1": proxy.ProxyV1, "v2": proxy.ProxyV2}

// loadProxyProtocol reads the flags of the PROXY protocol.
func loadProxyProtocol(s settings, p *proxy.Settings) error {
	accept, err := parseChoice(s, "accept-proxy", "off", "on")
	if err != nil {
		return err
	}
	p.AcceptProxy = accept == "on"
	for _, v := range s.list("accept-proxy-from") {
		prefix, err := parsePrefix(v)
		if err != nil {
			return err
		}
		p.AcceptProxyFrom = append(p.AcceptProxyFrom, prefix)
	}
	send, err := parseChoice(s, "send-proxy", "off", "v1", "v2")
	p.SendProxy = proxyVersions[send]
	return err
}

// checkPeers finds peers that are named where no header is taken, and warns of
// headers that are taken from everybody, or from more than who was named.
func checkPeers(s settings, c *Config) error {
	peers := s.list("accept-proxy-from")
	used := false
	var open []string // labels
	for i, l := range c.listeners {
		accept, _ := l.one("accept-proxy")
		own := l.own["accept-proxy-from"]
		c.warnOfWide(own)
		switch {
		case accept.text != "on" && own != nil:
			return own[0].fault("has a meaning only with accept-proxy on")
		case accept.text != "on":
		case own == nil && len(peers) == 0:
			open = append(open, c.Proxy.Listeners[i].Label)
		case own == nil:
			used = true
		}
	}
	if len(peers) > 0 && !used && !c.Proxy.AcceptProxy {
		return peers[0].fault("has a meaning only with --accept-proxy on")
	}
	c.warnOfWide(peers)
	if len(open) > 0 {
		of := ""
		if len(open) < len(c.listeners) {
			of = " (" + Trim(strings.Join(open, ", "), maxNamed) + ")"
		}
		c.Warnings = append(c.Warnings, "--accept-proxy on without --accept-proxy-from: any peer may name any source"+of)
	}
	return nil
}

// warnOfWide warns of peers that are named by an address with a prefix that holds others.
func (c *Config) warnOfWide(peers []value) {
	for _, v := range peers {
		if prefix, err := parsePrefix(v); err == nil && prefix != prefix.Masked() {
			c.Warnings = append(c.Warnings, fmt.Sprintf("%s %s stands for all of %s", v.name(), prefix, prefix.Masked()))
		}
	}
}

// maxNamed bounds a list of labels in a line.
const maxNamed = 1024

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
