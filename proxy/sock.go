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
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file is the only one that knows raw system calls.
//
// A call that cannot block (the socket is non-blocking, or the call carries a
// flag that says so) goes through RawSyscall6 and does not tell Go's
// scheduler: a splice of 100 us would otherwise lose its P and wake another
// thread, which cost 10-20 % of the CPU per byte where it was measured.

// Aliases of the errors that the state machines look at.
const (
	errAgain      = unix.EAGAIN
	errInProgress = unix.EINPROGRESS
)

// isShortage tells whether the machine or the process is out of something
// that comes back when connections end.
func isShortage(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM)
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

// apply sets the options on fd. Linux copies all of them from a listening
// socket to those it accepts (sk_clone_lock, tcp_create_openreq_child), which
// TestAcceptedSocketsInheritTheListenersOptions pins.
func (o socketOptions) apply(fd int) error {
	set := func(level, name, value int) error { return unix.SetsockoptInt(fd, level, name, value) }
	if err := set(unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return fmt.Errorf("set TCP_NODELAY: %w", err)
	}
	// Urgent data is part of the stream to us: what comes in is passed on.
	if err := set(unix.SOL_SOCKET, unix.SO_OOBINLINE, 1); err != nil {
		return fmt.Errorf("set SO_OOBINLINE: %w", err)
	}
	if o.keepAlive > 0 {
		interval := o.keepAlive
		if o.userTimeout > 0 {
			interval = min(interval, o.userTimeout/keepAliveProbes)
		}
		if err := errors.Join(
			set(unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1),
			set(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, wholeSeconds(o.keepAlive)),
			set(unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, wholeSeconds(interval)),
			set(unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepAliveProbes),
		); err != nil {
			return fmt.Errorf("set TCP keepalive: %w", err)
		}
	}
	if o.userTimeout > 0 {
		if err := set(unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(min(o.userTimeout.Milliseconds(), math.MaxInt32))); err != nil {
			return fmt.Errorf("set TCP_USER_TIMEOUT: %w", err)
		}
	}
	return nil
}

// wholeSeconds rounds up, and stays in what the kernel takes (MAX_TCP_KEEPIDLE).
func wholeSeconds(d time.Duration) int {
	return int(min(max((d+time.Second-1)/time.Second, 1), 32767))
}

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
	// The kernel caps the queue at net.core.somaxconn.
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

// acceptOne takes one connection off the queue of fd; errAgain when it is empty.
func acceptOne(listener int) (fd int, peer netip.AddrPort, err error) {
	var sa unix.RawSockaddrAny
	size := uint32(unix.SizeofSockaddrAny)
	n, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(listener), uintptr(unsafe.Pointer(&sa)),
		uintptr(unsafe.Pointer(&size)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if errno != 0 {
		return -1, peer, errno
	}
	return int(n), addrPortOf(&sa), nil
}

// startConnect begins a connection to to; it is there when fd becomes writable.
func startConnect(to netip.AddrPort, o socketOptions) (fd int, err error) {
	n, _, errno := unix.RawSyscall(unix.SYS_SOCKET, uintptr(familyOf(to.Addr())),
		unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if errno != 0 {
		return -1, os.NewSyscallError("socket", errno)
	}
	fd = int(n)
	if err := o.apply(fd); err != nil {
		closeFD(fd)
		return -1, err
	}
	sa, err := sockaddrOf(to)
	if err == nil {
		err = unix.Connect(fd, sa)
	}
	if err != nil && err != errInProgress {
		closeFD(fd)
		return -1, os.NewSyscallError("connect", err)
	}
	return fd, nil
}

// pendingError is the error that the socket has stored, and takes it away.
func pendingError(fd int) error {
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	if code != 0 {
		return unix.Errno(code)
	}
	return nil
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

// receive reads into b: 0 and nil at the end of the stream, errAgain when there is nothing.
func receive(fd int, b []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// nothingButFIN tells whether the peer has closed without sending a byte that is still unread.
func nothingButFIN(fd int) bool {
	var b [1]byte
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b)), 1, unix.MSG_DONTWAIT|unix.MSG_PEEK, 0, 0)
	return errno == 0 && n == 0
}

// discard throws away up to limit bytes that wait in the receive queue of fd.
func discard(fd, limit int) {
	for limit > 0 {
		// MSG_TRUNC on a TCP socket drops the bytes without copying them (tcp(7)).
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), 0, uintptr(limit), unix.MSG_DONTWAIT|unix.MSG_TRUNC, 0, 0)
		if errno != 0 || n == 0 {
			return
		}
		limit -= int(n)
	}
}

// transmit writes b; fewer bytes than len(b), or errAgain, when the socket is full.
func transmit(fd int, b []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// spliceSome moves up to n bytes between a socket and a pipe. Never with
// SPLICE_F_MORE: it would hold back the tail of a message for 200 ms.
func spliceSome(from, to, n int) (int, error) {
	for {
		moved, _, errno := unix.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(n), unix.SPLICE_F_NONBLOCK)
		switch errno {
		case 0:
			return int(moved), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// openPipe makes a pipe of at least one page, of size bytes where the kernel allows it.
func openPipe(size int) (r, w, got int, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		return -1, -1, 0, os.NewSyscallError("pipe2", err)
	}
	// Refused with EPERM when the user's pipes are over fs.pipe-user-pages-soft
	// (pipe(7)); the pipe then keeps the size it has, which is read back.
	_, _ = unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, size)
	got, err = unix.FcntlInt(uintptr(fds[0]), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		closeFD(fds[0])
		closeFD(fds[1])
		return -1, -1, 0, os.NewSyscallError("fcntl", err)
	}
	return fds[0], fds[1], got, nil
}

func sendFIN(fd int) error {
	_, _, errno := unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), unix.SHUT_WR, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// closeFD closes fd. Sockets without SO_LINGER never block in close.
func closeFD(fd int) {
	_, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
}

// resetFD closes fd with a RST and throws away what was queued for the peer.
func resetFD(fd int) {
	linger := unix.Linger{Onoff: 1, Linger: 0}
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &linger)
	closeFD(fd)
}

// Readiness as epoll reports it.
const (
	readyIn     = unix.EPOLLIN
	readyOut    = unix.EPOLLOUT
	readyFIN    = unix.EPOLLRDHUP
	readyUrgent = unix.EPOLLPRI
	readyHUP    = unix.EPOLLHUP
	readyError  = unix.EPOLLERR
)

// token is what epoll gives back with an event: which slot of which kind, and
// the generation of its tenant. Never a pointer: an event can outlive it.
type token struct {
	slot       int32
	generation uint32
}

type event struct{ unix.EpollEvent }

func (e *event) token() token { return token{e.Fd, uint32(e.Pad)} }

// poller is one epoll instance.
type poller struct{ fd int }

func newPoller() (poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return poller{-1}, os.NewSyscallError("epoll_create1", err)
	}
	return poller{fd}, nil
}

func (p poller) control(op, fd int, events uint32, t token) error {
	e := unix.EpollEvent{Events: events, Fd: t.slot, Pad: int32(t.generation)}
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(p.fd), uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(&e)), 0, 0)
	if errno != 0 {
		return os.NewSyscallError("epoll_ctl", errno)
	}
	return nil
}

// addConn watches a connection's socket for everything, edge-triggered, in one call for its whole life.
func (p poller) addConn(fd int, t token) error {
	return p.control(unix.EPOLL_CTL_ADD, fd, readyIn|readyOut|readyFIN|readyUrgent|unix.EPOLLET, t)
}

// addListener wakes one shard a connection rather than all of them.
func (p poller) addListener(fd int, t token) error {
	return p.control(unix.EPOLL_CTL_ADD, fd, readyIn|unix.EPOLLEXCLUSIVE, t)
}

func (p poller) addMailbox(fd int, t token) error {
	return p.control(unix.EPOLL_CTL_ADD, fd, readyIn, t)
}

func (p poller) remove(fd int) error { return p.control(unix.EPOLL_CTL_DEL, fd, 0, token{}) }

// wait returns the events of at most timeout; negative waits for ever, zero does not wait.
func (p poller) wait(events []event, timeout time.Duration) (int, error) {
	ms := -1
	if timeout >= 0 {
		ms = int(min((timeout+time.Millisecond-1)/time.Millisecond, math.MaxInt32))
	}
	n, errno := uintptr(0), unix.Errno(0)
	if ms == 0 {
		n, _, errno = unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	} else {
		n, _, errno = unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(ms), 0, 0)
	}
	switch errno {
	case 0:
		return int(n), nil
	case unix.EINTR:
		return 0, nil
	default:
		return 0, os.NewSyscallError("epoll_pwait", errno)
	}
}

func openEventFD() (int, error) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return -1, os.NewSyscallError("eventfd", err)
	}
	return fd, nil
}

// ring wakes the shard that watches fd.
func ring(fd int) {
	one := [8]byte{1}
	_, _ = unix.Write(fd, one[:])
}

// hush takes the ring back.
func hush(fd int) {
	var b [8]byte
	_, _ = unix.Read(fd, b[:])
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
