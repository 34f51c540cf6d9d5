// Package freeport finds ports of the loopback for servers that come and go.
package freeport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
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
		t, err := net.Listen("tcp", addr)
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

// Address finds a port and returns it as HOST:PORT.
func Address() (string, error) {
	port, err := Find()
	return Loopback(port), err
}

// Loopback is a port of 127.0.0.1 as HOST:PORT.
func Loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
