// Package ports keeps loopback TCP ports for servers that come and go.
//
// A port found by listening on port 0 and closing again belongs to nobody
// until its server binds it, and again while that server is down: any
// connection made meanwhile may be given it. A Reservation is a socket that is
// bound but never listens. The kernel then hands the port to no one who asks
// for "any", connections to it are refused, and a listener that asks for it by
// number, with SO_REUSEADDR as Go's have, still gets it.
package ports

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
)

// Reservation is one reserved port. It is safe for concurrent use, save Release.
type Reservation struct {
	fd   int
	addr netip.AddrPort
}

// Reserve reserves a free port of the loopback IPv4 address host.
func Reserve(host netip.Addr) (*Reservation, error) { return ReservePort(netip.AddrPortFrom(host, 0)) }

// ReservePort reserves a given port of an IPv4 address; port 0 means a free one.
func ReservePort(addr netip.AddrPort) (*Reservation, error) {
	if !addr.Addr().Is4() {
		return nil, fmt.Errorf("reserve port on %s: not an IPv4 address", addr)
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("reserve port on %s: %w", addr, err)
	}
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		syscall.Close(fd)
		return nil, fmt.Errorf("reserve port on %s: %w", addr, err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}); err != nil {
		syscall.Close(fd)
		return nil, fmt.Errorf("reserve port on %s: %w", addr, err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		syscall.Close(fd)
		return nil, fmt.Errorf("reserve port on %s: %w", addr, err)
	}
	port := sa.(*syscall.SockaddrInet4).Port // an AF_INET socket has no other address
	return &Reservation{fd: fd, addr: netip.AddrPortFrom(addr.Addr(), uint16(port))}, nil
}

// String is the reserved address as HOST:PORT.
func (r *Reservation) String() string {
	return net.JoinHostPort(r.addr.Addr().String(), strconv.Itoa(r.Port()))
}

// Port is the reserved port.
func (r *Reservation) Port() int { return int(r.addr.Port()) }

// Release gives the port back. It must be called once.
func (r *Reservation) Release() { syscall.Close(r.fd) }
