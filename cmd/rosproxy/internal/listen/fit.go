package listen

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/drain/handover"
)

// A process may be started with other addresses than its predecessor had, by a
// configuration file that has changed. What it was given and the addresses do
// not fit, it must not use.

// fits reports whether a socket of a listener's label is what its address stands
// for. A name, which may stand for others by now, keeps what it stood for; so
// does a port that the kernel chose. What cannot be told is for the proxy to judge.
func fits(s handover.Socket, address string) bool {
	bound, ok := boundTo(s)
	host, text, err := net.SplitHostPort(address)
	if !ok || err != nil {
		return true
	}
	if port, err := strconv.ParseUint(text, 10, 16); err != nil || port == 0 {
		return true
	} else if uint16(port) != bound.Port() {
		return false
	}
	if host == "" {
		return bound.Addr().IsUnspecified()
	}
	ip, err := netip.ParseAddr(host)
	return err != nil || ip.Unmap().WithZone("") == bound.Addr()
}

// FixedAddress is the address that a listener's HOST:PORT can only mean; false when
// it depends on a name or on the kernel.
func FixedAddress(address string) (at netip.AddrPort, ok bool) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return at, false
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return at, false
	}
	if host == "" {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), uint16(port)), true
	}
	ip, err := netip.ParseAddr(host)
	return netip.AddrPortFrom(ip.Unmap().WithZone(""), uint16(port)), err == nil
}

// boundTo is the address of a TCP socket; false: it is none.
func boundTo(s handover.Socket) (at netip.AddrPort, ok bool) {
	switch a := nameOf(s.File).(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)), true
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port)), true
	}
	return at, false
}

// nameOf is the address of a socket; nil: it has none.
func nameOf(f *os.File) (name unix.Sockaddr) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil
	}
	if e := raw.Control(func(fd uintptr) { name, err = unix.Getsockname(int(fd)) }); e != nil || err != nil {
		return nil
	}
	return name
}

// fitsEndpoint is fits for the socket of one of the program's own endpoints.
func fitsEndpoint(s handover.Socket, network, address string) bool {
	switch a := nameOf(s.File).(type) {
	case *unix.SockaddrUnix:
		return network == "unix" && a.Name == address
	case *unix.SockaddrInet4, *unix.SockaddrInet6:
		return network == "tcp" && fits(s, address)
	}
	return true
}

// Retire closes the ports of sockets that nobody wants any more, for every
// process that has them: the predecessor keeps copies while it drains, and would
// fill a queue of which nobody takes. It closes the sockets.
func Retire(sockets []handover.Socket) error {
	var errs []error
	for _, s := range sockets {
		raw, err := s.File.SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RD) }) // or it does not listen
		}
		if a, ok := nameOf(s.File).(*unix.SockaddrUnix); ok && a.Name != "" && a.Name[0] != '@' {
			if e := os.Remove(a.Name); !errors.Is(e, syscall.ENOENT) {
				err = errors.Join(err, e)
			}
		}
		errs = append(errs, err, s.File.Close())
	}
	return errors.Join(errs...)
}
