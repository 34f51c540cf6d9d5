package config

import (
	"cmp"
	"fmt"
	"net"
	"strings"

	"github.com/rosproxy/rosproxy/discovery"
)

// Endpoint is where the program itself listens; its zero value is nowhere.
type Endpoint struct {
	Network string // tcp or unix
	Address string // HOST:PORT or a path
}

// String is e as --admin-listen and --admin have it.
func (e Endpoint) String() string {
	if e.Network == "unix" {
		return unixPrefix + e.Address
	}
	return e.Address
}

// unixPrefix is what an address begins with that is the path of a unix socket.
const unixPrefix = "unix:"

// Admin says where the admin endpoints are and who may use them.
type Admin struct {
	Endpoint
	TokenFile string   // empty: no token is asked for
	Hosts     []string // names that a request's Host may have where no token is asked for, besides those of the loopback
}

// maxSocketPath is what sockaddr_un holds.
const maxSocketPath = 107

func loadAdmin(s settings, c *Config) error {
	v, _ := s.one("admin-listen")
	endpoint, local, err := parseEndpoint(v, c.listeners)
	if err != nil {
		return err
	}
	c.Admin.Endpoint = endpoint
	for _, h := range s.list("admin-host") {
		if !discovery.IsHostName(h.text) {
			return h.fault("not a host name (without a port)")
		}
		c.Admin.Hosts = append(c.Admin.Hosts, h.text)
	}
	token, ok := s.one("admin-token-file")
	if !ok {
		if !local {
			return v.fault("neither loopback nor a unix socket: needs --admin-token-file")
		}
		return nil
	}
	if _, err := ReadToken(token.text); err != nil {
		return token.fault("%v", withoutPath(err))
	}
	c.Admin.TokenFile = token.text
	return nil
}

func loadAgentCheck(s settings, c *Config) error {
	v, ok := s.one("agent-check-listen")
	if !ok {
		return nil
	}
	endpoint, _, err := parseEndpoint(v, c.listeners)
	if err != nil {
		return err
	}
	if admin, _ := s.one("admin-listen"); endpoint.overlaps(c.Admin.Endpoint) {
		return v.fault("cannot be open beside %s, the address of %s", admin.text, v.nameOf("admin-listen"))
	}
	c.AgentCheck = endpoint
	return nil
}

// overlaps reports whether the two cannot be open side by side.
func (e Endpoint) overlaps(other Endpoint) bool {
	if e.Network != "tcp" || other.Network != "tcp" {
		return e == other
	}
	at, err := parseAddress(value{}, e.Address)
	beside, otherErr := parseAddress(value{}, other.Address)
	return err == nil && otherErr == nil && at.overlaps(beside)
}

// parseEndpoint reads HOST:PORT or unix:PATH, which no listener of the proxy
// has. It is local when nobody but this machine can connect.
func parseEndpoint(v value, taken []listener) (e Endpoint, local bool, err error) {
	if path, ok := strings.CutPrefix(v.text, unixPrefix); ok {
		if reason := badSocketPath(path); reason != "" {
			return e, false, v.fault("%s", reason)
		}
		return Endpoint{"unix", path}, true, nil
	}
	if _, _, err := net.SplitHostPort(v.text); err != nil {
		return e, false, v.fault("neither HOST:PORT (an IPv6 address goes in brackets) nor unix:PATH")
	}
	at, err := parseAddress(v, v.text)
	if err != nil {
		return e, false, err
	}
	for _, l := range taken {
		if at.overlaps(l.at) {
			return e, false, v.fault("cannot be open beside %s, the address of the listener %q", l.at.hostPort, cmp.Or(l.label, unlabelled))
		}
	}
	host, _, _ := SplitHostPort(v.text) // it is one
	return Endpoint{"tcp", v.text}, isLoopback(host), nil
}

func badSocketPath(path string) string {
	switch {
	case path == "":
		return "the path is empty"
	case strings.HasPrefix(path, "@"):
		return "an abstract socket has no permissions; give a path"
	case len(path) > maxSocketPath:
		return fmt.Sprintf("the path is longer than %d bytes", maxSocketPath)
	case strings.ContainsRune(path, 0):
		return "the path has a zero byte"
	}
	return ""
}
