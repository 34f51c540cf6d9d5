package load

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file is the only one that knows raw system calls. None of them tells
// Go's scheduler: no socket here blocks, and the loop has its thread for
// itself, also while it sleeps in epoll_pwait2.

const (
	readyIn   = unix.EPOLLIN
	readyOut  = unix.EPOLLOUT
	readyEnd  = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
	edge      = unix.EPOLLET
	errAgain  = unix.EAGAIN
	everyEdge = readyIn | readyOut | unix.EPOLLRDHUP | edge
)

type poller int

func newPoller() (poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	return poller(fd), os.NewSyscallError("epoll_create1", err)
}

func (p poller) control(op, fd int, interest uint32, generation int32) error {
	e := unix.EpollEvent{Events: interest, Fd: int32(fd), Pad: generation}
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(p), uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(&e)), 0, 0)
	if errno != 0 {
		return os.NewSyscallError("epoll_ctl", errno)
	}
	return nil
}

func (p poller) add(fd int, interest uint32, generation int32) error {
	return p.control(unix.EPOLL_CTL_ADD, fd, interest, generation)
}

// wait waits for events, at most for testTimeout; negative: for ever.
func (p poller) wait(events []unix.EpollEvent, testTimeout time.Duration) (int, error) {
	var limit *unix.Timespec
	if testTimeout >= 0 {
		t := unix.NsecToTimespec(int64(testTimeout))
		limit = &t
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT2, uintptr(p), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)),
		uintptr(unsafe.Pointer(limit)), 0, 0)
	switch errno {
	case 0:
		return int(n), nil
	case unix.EINTR:
		return 0, nil
	default:
		return 0, os.NewSyscallError("epoll_pwait2", errno)
	}
}

// bell is an eventfd that wakes the loop.
type bell int

func newBell() (bell, error) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	return bell(fd), os.NewSyscallError("eventfd", err)
}

func (b bell) ring() {
	one := [8]byte{1}
	_, _ = unix.Write(int(b), one[:])
}

func (b bell) clear() {
	var buf [8]byte
	_, _ = unix.Read(int(b), buf[:])
}

// throwAway receives up to n bytes and drops them in the kernel (tcp(7), MSG_TRUNC).
func throwAway(fd, n int) (int, error) {
	got, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), 0, uintptr(n), unix.MSG_DONTWAIT|unix.MSG_TRUNC, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(got), nil
}

func receive(fd int, b []byte) (int, error) { return receiveWith(fd, b, 0) }

// peek leaves what it reads where it is.
func peek(fd int, b []byte) (int, error) { return receiveWith(fd, b, unix.MSG_PEEK) }

func receiveWith(fd int, b []byte, flags uintptr) (int, error) {
	got, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT|flags, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(got), nil
}

func send(fd int, b []byte) (int, error) {
	sent, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(sent), nil
}

// memorySize is how much of the memfd one sendfile can take.
const memorySize = 256 << 10

// newMemory makes a file in memory to send from.
func newMemory() (int, error) {
	fd, err := unix.MemfdCreate("bench", unix.MFD_CLOEXEC)
	if err != nil {
		return -1, os.NewSyscallError("memfd_create", err)
	}
	if _, err := unix.Write(fd, make([]byte, memorySize)); err != nil {
		return -1, fmt.Errorf("fill the memfd: %w", err)
	}
	return fd, nil
}

// sendMemory sends up to n bytes, at most memorySize, out of the memfd.
func sendMemory(fd, memory, n int) (int, error) {
	var offset int64
	sent, _, errno := unix.RawSyscall6(unix.SYS_SENDFILE, uintptr(fd), uintptr(memory), uintptr(unsafe.Pointer(&offset)), uintptr(min(n, memorySize)), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(sent), nil
}

func closeFD(fd int) { _, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

// newSocket makes a socket; buffer is its Spec's.
func newSocket(buffer int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	// Accepted sockets inherit all of it from the one that listens.
	err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if buffer > 0 {
		err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, buffer), unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer))
	}
	if err != nil {
		closeFD(fd)
		return -1, os.NewSyscallError("setsockopt", err)
	}
	return fd, nil
}

// listen opens a listener; port 0 takes any.
func listen(at netip.AddrPort, buffer int) (int, netip.AddrPort, error) {
	fd, err := newSocket(buffer)
	if err != nil {
		return -1, at, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		closeFD(fd)
		return -1, at, os.NewSyscallError("setsockopt", err)
	}
	if err := unix.Bind(fd, sockaddr(at)); err != nil {
		closeFD(fd)
		return -1, at, os.NewSyscallError("bind", err)
	}
	const longest = 1 << 16 // the kernel caps it at net.core.somaxconn
	if err := unix.Listen(fd, longest); err != nil {
		closeFD(fd)
		return -1, at, os.NewSyscallError("listen", err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		closeFD(fd)
		return -1, at, os.NewSyscallError("getsockname", err)
	}
	return fd, netip.AddrPortFrom(at.Addr(), uint16(sa.(*unix.SockaddrInet4).Port)), nil
}

func accept(listener int) (int, error) {
	fd, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(listener), 0, 0, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// connect begins a connection from one of the machine's own addresses. The
// port is chosen when the destination is known, so that each source has all
// of them for each destination.
func connect(from netip.Addr, to *unix.SockaddrInet4, buffer int) (int, error) {
	fd, err := newSocket(buffer)
	if err != nil {
		return -1, err
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		closeFD(fd)
		return -1, os.NewSyscallError("setsockopt", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: from.As4()}); err != nil {
		closeFD(fd)
		return -1, os.NewSyscallError("bind", err)
	}
	if err := unix.Connect(fd, to); err != nil && err != unix.EINPROGRESS {
		closeFD(fd)
		return -1, os.NewSyscallError("connect", err)
	}
	return fd, nil
}

func sockaddr(a netip.AddrPort) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
}

// sharpTimers has the kernel wake this thread on time rather than up to 50 us late.
func sharpTimers() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) }
