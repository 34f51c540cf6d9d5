package sock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Accept takes one connection off the queue of fd; ErrAgain when it is empty.
func Accept(listener int) (fd int, peer netip.AddrPort, err error) {
	var sa unix.RawSockaddrAny
	size := uint32(unix.SizeofSockaddrAny)
	n, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(listener), uintptr(unsafe.Pointer(&sa)),
		uintptr(unsafe.Pointer(&size)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if errno != 0 {
		return -1, peer, errno
	}
	resetOnClose(int(n))
	return int(n), addrPortOf(&sa), nil
}

// Connect begins a connection to to; it is there when fd becomes writable.
// The caller is to ApplyLater the rest of the options.
func Connect(to netip.AddrPort, o Options) (fd int, err error) {
	n, _, errno := unix.RawSyscall(unix.SYS_SOCKET, uintptr(familyOf(to.Addr())),
		unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if errno != 0 {
		return -1, os.NewSyscallError("socket", errno)
	}
	fd = int(n)
	resetOnClose(fd)
	if err := o.applyFirst(fd, to.Addr()); err != nil {
		Close(fd)
		return -1, err
	}
	if err := connect(fd, to); err != nil && err != errInProgress {
		Close(fd)
		return -1, os.NewSyscallError("connect", err)
	}
	return fd, nil
}

func connect(fd int, to netip.AddrPort) error {
	var errno unix.Errno
	switch a := to.Addr(); {
	case a.Is4():
		sa := unix.RawSockaddrInet4{Family: unix.AF_INET, Port: networkOrder(to.Port()), Addr: a.As4()}
		_, _, errno = unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&sa)), unix.SizeofSockaddrInet4)
	case a.Zone() == "":
		sa := unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: networkOrder(to.Port()), Addr: a.As16()}
		_, _, errno = unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&sa)), unix.SizeofSockaddrInet6)
	default: // the number of the interface is to be looked up
		sa, err := sockaddrOf(to)
		if err != nil {
			return err
		}
		return unix.Connect(fd, sa)
	}
	if errno != 0 {
		return errno
	}
	return nil
}

// networkOrder is port as it stands in a socket address, in memory.
func networkOrder(port uint16) (in uint16) {
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&in))[:], port)
	return in
}

func addrPortOf(sa *unix.RawSockaddrAny) netip.AddrPort {
	port := func(p *uint16) uint16 { b := (*[2]byte)(unsafe.Pointer(p)); return uint16(b[0])<<8 | uint16(b[1]) }
	switch sa.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), port(&in.Port))
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom16(in.Addr).Unmap(), port(&in.Port))
	default:
		return netip.AddrPort{}
	}
}

// ConnectedToItself reports whether a connect to a local port that nobody
// listens on met itself, which TCP's simultaneous open allows (RFC 9293, 3.5).
func ConnectedToItself(fd int, to netip.AddrPort) bool {
	local, err := LocalAddress(fd)
	return err == nil && local == to
}

// LocalAddress is asked for with each connection, so it allocates nothing.
func LocalAddress(fd int) (netip.AddrPort, error) {
	var sa unix.RawSockaddrAny
	size := uint32(unix.SizeofSockaddrAny)
	if _, _, errno := unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size))); errno != 0 {
		return netip.AddrPort{}, os.NewSyscallError("getsockname", errno)
	}
	a := addrPortOf(&sa)
	if !a.IsValid() {
		return a, fmt.Errorf("unexpected socket address of family %d", sa.Addr.Family)
	}
	return a, nil
}

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func sockaddrOf(a netip.AddrPort) (unix.Sockaddr, error) {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}, nil
	}
	sa := &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	if zone := a.Addr().Zone(); zone != "" {
		nic, err := net.InterfaceByName(zone)
		if err != nil {
			return nil, fmt.Errorf("find the interface of %s: %w", a, err)
		}
		sa.ZoneId = uint32(nic.Index)
	}
	return sa, nil
}

// ConnectError is why a connect failed; nil when the socket has no error. It
// takes the error off the socket (SO_ERROR, socket(7)).
func ConnectError(fd int) error {
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	if code == 0 {
		return nil
	}
	return os.NewSyscallError("connect", unix.Errno(code))
}

// ErrorName is the symbol of the errno in err, such as ECONNREFUSED; empty when there is none.
func ErrorName(err error) string {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return ""
	}
	return unix.ErrnoName(errno)
}
