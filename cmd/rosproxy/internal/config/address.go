package config

import (
	"net/netip"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/listen"
)

// address is where the program listens.
type address struct {
	value
	hostPort string
	port     uint16         // 0: the kernel chooses
	fixed    netip.AddrPort // not valid: it depends on a name or on the kernel
}

// parseAddress reads HOST:PORT, which is v or part of it.
func parseAddress(v value, hostPort string) (address, error) {
	_, port, reason := SplitHostPort(hostPort)
	if reason != "" {
		return address{}, v.fault("%s", reason)
	}
	a := address{value: v, hostPort: hostPort, port: port}
	a.fixed, _ = listen.FixedAddress(hostPort)
	return a, nil
}

// overlaps reports whether the two cannot be open side by side, as far as that
// can be told without the names of the machine.
func (a address) overlaps(b address) bool {
	return a.port != 0 && a.hostPort == b.hostPort || listen.Overlap(a.fixed, b.fixed)
}
