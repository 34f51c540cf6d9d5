package consul

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/rosproxy/rosproxy/discovery/internal/hostname"
)

// endpoint is where one Consul address leads.
type endpoint struct {
	name   string // as the operator wrote it
	scheme string // http or https
	host   string // HOST:PORT; localhost for a socket
	prefix string // of the path, for a Consul behind a gateway
	socket string // path of a Unix socket; empty for TCP
}

// defaultPort is that of Consul's HTTP API.
const defaultPort = "8500"

// parseEndpoint reads HOST[:PORT], http(s)://HOST[:PORT][/PREFIX] or
// unix://PATH, as Consul's own client does: without a port a URL means that of
// its scheme, and nothing leads back from TLS to plain HTTP once it was asked
// for. A bare HOST means port 8500.
func parseEndpoint(name string, tls bool) (endpoint, error) {
	e := endpoint{name: name, scheme: "http"}
	scheme, rest, isURL := strings.Cut(name, "://")
	if !isURL {
		scheme, rest = "http", name
		if strings.HasPrefix(name, "unix:/") { // as --admin has it
			return e, fmt.Errorf("consul address %q: a socket is named by unix://PATH", name)
		}
	}
	port := defaultPort
	switch scheme {
	case "http":
		if isURL {
			port = "80"
		}
		if tls {
			e.scheme = "https"
		}
	case "https":
		e.scheme, port = "https", "443"
	case "unix":
		if rest == "" {
			return e, fmt.Errorf("consul address %q names no socket", name)
		}
		if tls {
			e.scheme = "https"
		}
		e.socket, e.host = rest, "localhost"
		return e, nil
	default:
		return e, fmt.Errorf("consul address %q: scheme %q is none of http, https, unix", name, scheme)
	}
	if isURL {
		if host, prefix, ok := strings.Cut(rest, "/"); ok {
			rest = host
			if prefix = strings.Trim(prefix, "/"); prefix != "" {
				e.prefix = "/" + prefix
			}
		}
	}
	host, err := hostPort(rest, port)
	if err != nil {
		// Without the address when it may hold a password.
		if strings.Contains(rest, "@") {
			return e, errors.New("consul address with a user in it: give that as CONSUL_HTTP_AUTH")
		}
		return e, fmt.Errorf("consul address %q: %w", name, err)
	}
	e.host = host
	return e, nil
}

// hostPort checks HOST[:PORT] and completes it. An empty HOST before a port
// means this machine.
func hostPort(s, port string) (string, error) {
	host := s
	switch h, p, err := net.SplitHostPort(s); {
	case err == nil:
		host, port = h, p
		if host == "" {
			host = "127.0.0.1"
		}
	case strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]"):
		host = s[1 : len(s)-1]
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("port %q is not between 1 and 65535", port)
	}
	if _, err := netip.ParseAddr(host); err != nil && !hostname.IsValid(host) {
		return "", fmt.Errorf("%q is neither an IP address nor a host name", host)
	}
	return net.JoinHostPort(host, port), nil
}

// CheckAddress says what is wrong with an address of Consul: nil when nothing is.
// The error quotes none that may hold a password.
func CheckAddress(address string) error {
	_, err := parseEndpoint(address, false)
	return err
}
