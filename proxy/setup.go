package proxy

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// How sockets are set up: once per listener, or once per connection. What is
// called for every event or transfer is in sock.go.

// openListener listens on address with the system's longest queue.
// An empty host and [::] take IPv4 as well.
func openListener(ctx context.Context, address string, o socketOptions) (fd int, bound netip.AddrPort, err error) {
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
	fd, err = listen(want, o)
	if host == "" && errors.Is(err, unix.EAFNOSUPPORT) { // a machine without IPv6
		fd, err = listen(netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(port)), o)
	}
	if err != nil {
		return -1, bound, fmt.Errorf("listen on %q: %w", address, err)
	}
	bound, err = localAddress(fd)
	if err != nil {
		closeFD(fd)
		return -1, bound, fmt.Errorf("listen on %q: read the bound address: %w", address, err)
	}
	return fd, bound, nil
}

// listen never asks for MPTCP, which splice would pay for.
func listen(at netip.AddrPort, o socketOptions) (int, error) {
	fd, err := unix.Socket(familyOf(at.Addr()), unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := bindAndListen(fd, at, o); err != nil {
		closeFD(fd)
		return -1, err
	}
	return fd, nil
}

func bindAndListen(fd int, at netip.AddrPort, o socketOptions) error {
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
	if err := o.apply(fd); err != nil {
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

// refuseNewHandshakes makes the kernel drop SYNs to the listening socket fd,
// while handshakes already under way finish and the accept queue stays: the
// one way to empty a listen queue that does not race with the next arrival.
// The filter sees the segment from the TCP header on (tcp_filter in
// net/ipv4/tcp_ipv4.c); byte 13 holds the flags (RFC 9293, 3.1).
func refuseNewHandshakes(fd int) error {
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

// allowNewHandshakes undoes refuseNewHandshakes; a SYN that was dropped comes again.
func allowNewHandshakes(fd int) {
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
}

// waitingInQueue is how many finished handshakes wait to be accepted on fd
// (for a listening socket tcp_get_info reports sk_ack_backlog as tcpi_unacked).
func waitingInQueue(fd int) (int, error) {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0, os.NewSyscallError("getsockopt", err)
	}
	return int(info.Unacked), nil
}

// socketOptions apply to both sides of every connection.
type socketOptions struct {
	keepAlive   time.Duration // 0: off
	userTimeout time.Duration // 0: off
}

// keepAliveProbes lost in a row end a connection when there is no user timeout.
// With one the kernel goes by that instead, from the first unanswered probe
// on (tcp_keepalive_timer in net/ipv4/tcp_timer.c).
const keepAliveProbes = 3

// apply sets all options on fd. Linux copies them from a listening socket to
// those it accepts (sk_clone_lock, tcp_create_openreq_child), which
// TestBothSidesHaveTheSocketOptions pins.
func (o socketOptions) apply(fd int) error {
	if err := o.applyFirst(fd); err != nil {
		return err
	}
	return o.applyLater(fd)
}

// applyFirst sets what a connection needs for its first byte.
func (o socketOptions) applyFirst(fd int) error {
	if err := setOption(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return fmt.Errorf("set TCP_NODELAY: %w", err)
	}
	// Urgent data is part of the stream to us: what comes in is passed on.
	if err := setOption(fd, unix.SOL_SOCKET, unix.SO_OOBINLINE, 1); err != nil {
		return fmt.Errorf("set SO_OOBINLINE: %w", err)
	}
	return nil
}

// applyLater sets what finds a dead peer. The kernel looks at these when a
// timer of the socket fires, so that it is soon enough to set them before the
// first one could: a connection that is over by then saves five calls.
func (o socketOptions) applyLater(fd int) error {
	if o.keepAlive > 0 {
		interval := o.keepAlive
		if o.userTimeout > 0 {
			interval = min(interval, o.userTimeout/keepAliveProbes)
		}
		if err := errors.Join(
			setOption(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1),
			setOption(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, wholeSeconds(o.keepAlive)),
			setOption(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, wholeSeconds(interval)),
			setOption(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepAliveProbes),
		); err != nil {
			return fmt.Errorf("set TCP keepalive: %w", err)
		}
	}
	if o.userTimeout > 0 {
		if err := setOption(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(min(o.userTimeout.Milliseconds(), math.MaxInt32))); err != nil {
			return fmt.Errorf("set TCP_USER_TIMEOUT: %w", err)
		}
	}
	return nil
}

// wholeSeconds rounds up, and stays in what the kernel takes (MAX_TCP_KEEPIDLE).
func wholeSeconds(d time.Duration) int {
	return int(min(max((d+time.Second-1)/time.Second, 1), 32767))
}

// connectedToItself tells whether a connect to a local port that nobody
// listens on met itself, which TCP's simultaneous open allows (RFC 9293, 3.5).
func connectedToItself(fd int, to netip.AddrPort) bool {
	local, err := localAddress(fd)
	return err == nil && local == to
}

func localAddress(fd int) (netip.AddrPort, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, os.NewSyscallError("getsockname", err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), nil
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port)), nil
	default:
		return netip.AddrPort{}, fmt.Errorf("unexpected socket address %T", sa)
	}
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
