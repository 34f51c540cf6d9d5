// Package freeport finds ports of the loopback for servers that come and go.
package freeport

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"syscall"
)

// Find finds a port of 127.0.0.1 that nobody uses, TCP or UDP. It lies below
// the range that the kernel takes for outgoing connections, so that it is
// still free when a server that was killed comes back for it.
func Find() (int, error) {
	low := 32768
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		fmt.Sscan(string(b), &low) //nolint:errcheck // the usual value stands
	}
	const lowest = 10000
	if low <= lowest+1000 {
		low = 65536 // hardly anything below: take any
	}
	for range 200 {
		port := lowest + rand.IntN(low-lowest)
		addr := Loopback(port)
		t, err := alone.Listen(context.Background(), "tcp", addr)
		if err != nil {
			continue
		}
		u, err := net.ListenPacket("udp", addr)
		t.Close()
		if err != nil {
			continue
		}
		u.Close()
		return port, nil
	}
	return 0, errors.New("find a free port of 127.0.0.1: 200 tries")
}

// alone listens where nobody has even bound: see Hold.
var alone = net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
	return errors.Join(c.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 0)
	}), err)
}}

// Hold keeps a TCP port of the loopback for a server that is down at times: Find
// gives it to nobody until it is released. Connections to it are refused, and a
// server that binds it with SO_REUSEADDR, as most do, gets it.
func Hold(address string) (release func(), err error) {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("hold %s: %w", address, err)
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("hold %s: %w", address, err)
	}
	err = errors.Join(
		syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1),
		syscall.Bind(fd, &syscall.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}))
	if err != nil {
		_ = syscall.Close(fd)
		return nil, fmt.Errorf("hold %s: %w", address, err)
	}
	return func() { _ = syscall.Close(fd) }, nil
}

// Address finds a port and returns it as HOST:PORT.
func Address() (string, error) {
	port, err := Find()
	return Loopback(port), err
}

// Loopback is a port of 127.0.0.1 as HOST:PORT.
func Loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
