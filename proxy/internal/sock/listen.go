package sock

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Listen listens on address with the system's longest queue.
// An empty host and [::] take IPv4 as well.
func Listen(ctx context.Context, address string, o Options) (fd int, bound netip.AddrPort, err error) {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return -1, bound, fmt.Errorf("listen on %q: %w", address, err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return -1, bound, fmt.Errorf("listen on %q: port %q is not a number from 0 to 65535", address, portText)
	}
	ip := netip.IPv6Unspecified()
	if host != "" {
		ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			return -1, bound, fmt.Errorf("listen on %q: %w", address, err)
		}
		ip = ips[0].Unmap()
	}
	want := netip.AddrPortFrom(ip, uint16(port))
	fd, err = listenAt(want, o)
	if host == "" && errors.Is(err, unix.EAFNOSUPPORT) { // a machine without IPv6
		fd, err = listenAt(netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(port)), o)
	}
	if err != nil {
		return -1, bound, fmt.Errorf("listen on %q: %w", address, err)
	}
	bound, err = LocalAddress(fd)
	if err != nil {
		Close(fd)
		return -1, bound, fmt.Errorf("listen on %q: read the bound address: %w", address, err)
	}
	return fd, bound, nil
}

// listen never asks for MPTCP, which splice would pay for.
func listenAt(at netip.AddrPort, o Options) (int, error) {
	fd, err := unix.Socket(familyOf(at.Addr()), unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := bindAndListen(fd, at, o); err != nil {
		Close(fd)
		return -1, err
	}
	return fd, nil
}

func bindAndListen(fd int, at netip.AddrPort, o Options) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	if at.Addr().Is6() {
		v6only := 1
		if at.Addr().IsUnspecified() {
			v6only = 0
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, v6only); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	if err := o.apply(fd, at.Addr()); err != nil {
		return err
	}
	sa, err := sockaddrOf(at)
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, sa); err != nil {
		return os.NewSyscallError("bind", err)
	}
	return lengthenQueue(fd)
}

// lengthenQueue makes fd listen, if it does not, with as long a queue as there
// may be: the kernel caps it at net.core.somaxconn.
func lengthenQueue(fd int) error {
	return os.NewSyscallError("listen", unix.Listen(fd, math.MaxInt32))
}

// StopListening closes the port, for all who have the socket, and resets what is
// in its queue. The socket stays, and its address. One that does not listen is
// left alone: what it would accept later would be at its end (sk_shutdown is inherited).
func StopListening(fd int) {
	if CheckListening(fd) == nil {
		_ = unix.Shutdown(fd, unix.SHUT_RD)
	}
}

// StartListening undoes StopListening. A port that the kernel had chosen is not
// bound any more then, one that was asked for is (tcp_set_state, SOCK_BINDPORT_LOCK).
func StartListening(fd int, at netip.AddrPort) error {
	AllowNewHandshakes(fd)
	sa, err := sockaddrOf(at)
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, sa); err != nil && err != unix.EINVAL { // EINVAL: it is bound
		return os.NewSyscallError("bind", err)
	}
	return lengthenQueue(fd)
}

// RefuseNewHandshakes makes the kernel drop SYNs to the listening socket fd,
// while handshakes already under way finish and the accept queue stays: the
// one way to empty a listen queue that does not race with the next arrival.
// The filter sees the segment from the TCP header on (tcp_filter in
// net/ipv4/tcp_ipv4.c); byte 13 holds the flags (RFC 9293, 3.1).
func RefuseNewHandshakes(fd int) error {
	const flagsOffset, syn = 13, 0x02
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: flagsOffset},
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: syn, Jt: 0, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: math.MaxUint32},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
		return fmt.Errorf("attach a filter to the listener: %w", err)
	}
	return nil
}

// AllowNewHandshakes undoes RefuseNewHandshakes; a SYN that was dropped comes again.
func AllowNewHandshakes(fd int) {
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
}

// WaitingInQueue is how many finished handshakes wait to be accepted on fd
// (for a listening socket tcp_get_info reports sk_ack_backlog as tcpi_unacked).
func WaitingInQueue(fd int) (int, error) {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0, os.NewSyscallError("getsockopt", err)
	}
	return int(info.Unacked), nil
}
