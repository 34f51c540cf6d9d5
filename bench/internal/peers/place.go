package peers

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
)

// Place is the number, from 0, of this process among those that measure on this
// machine at the same time, and decides its addresses. Proxies listen with
// SO_REUSEPORT: two at one address would share their clients and say nothing.
// The number is taken for as long as the process lives.
func Place() (int, error) {
	p, err := place()
	return p.number, err
}

type taken struct {
	number int
	socket net.Listener // keeps others off; never closed
}

const (
	mostPlaces     = 100
	firstPlacePort = 19800
)

var place = sync.OnceValues(func() (taken, error) {
	for i := range mostPlaces {
		// Without SO_REUSEPORT nobody else can have it.
		l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(firstPlacePort+i)))
		if err == nil {
			return taken{i, l}, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return taken{}, fmt.Errorf("take a place on this machine: %w", err)
		}
	}
	return taken{}, fmt.Errorf("take a place on this machine: %d others measure here", mostPlaces)
})

// address is where proxies of this process listen.
func address() (netip.Addr, error) {
	i, err := Place()
	return netip.AddrFrom4([4]byte{127, 0, 0, byte(100 + i)}), err
}
