package proxy

import (
	"encoding/binary"
	"errors"
	"math"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file is the only one that knows raw system calls: whatever is done for
// every event, transfer or connection.
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
// The caller is to applyLater the rest of the options.
func startConnect(to netip.AddrPort, o socketOptions) (fd int, err error) {
	n, _, errno := unix.RawSyscall(unix.SYS_SOCKET, uintptr(familyOf(to.Addr())),
		unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if errno != 0 {
		return -1, os.NewSyscallError("socket", errno)
	}
	fd = int(n)
	if err := o.applyFirst(fd); err != nil {
		closeFD(fd)
		return -1, err
	}
	if err := connect(fd, to); err != nil && err != errInProgress {
		closeFD(fd)
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

func setOption(fd, level, name, value int) error {
	v := int32(value)
	_, _, errno := unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name), uintptr(unsafe.Pointer(&v)), unsafe.Sizeof(v), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// receive reads into b: 0 and nil at the end of the stream, errAgain when there is nothing.
func receive(fd int, b []byte) (int, error) { return recv(fd, b, unix.MSG_DONTWAIT) }

// peek is receive, but leaves what it reads where it is.
func peek(fd int, b []byte) (int, error) { return recv(fd, b, unix.MSG_DONTWAIT|unix.MSG_PEEK) }

func recv(fd int, b []byte, flags uintptr) (int, error) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), flags, 0, 0)
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
	n, err := peek(fd, b[:])
	return err == nil && n == 0
}

// nothingToRead tells whether the receive queue of fd is empty and its peer
// has neither closed nor reset.
func nothingToRead(fd int) bool {
	var b [1]byte
	_, err := peek(fd, b[:])
	return err == errAgain
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
	_, _, _ = unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_LINGER, uintptr(unsafe.Pointer(&linger)), unsafe.Sizeof(linger), 0)
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

// attention is how long a wait for events is hidden from Go's scheduler.
const attention = 2 * time.Millisecond

// wait returns the events of at most timeout; negative waits for ever, zero
// does not wait.
//
// It waits for a moment without telling the scheduler, and tells it only when
// nothing has come by then. A shard under load sleeps a thousand times a
// second for less than that; each time the scheduler's monitor would take its
// P away and then look again every 20 us, which cost more CPU than the events.
// Nothing waits for that P meanwhile where there are more of them than shards,
// and the garbage collector's signal ends the wait.
func (p poller) wait(events []event, timeout time.Duration) (int, error) {
	hidden := attention
	if 0 <= timeout && timeout < attention {
		hidden = timeout
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), wholeMillis(hidden), 0, 0)
	if n == 0 && errno == 0 && hidden != timeout {
		n, _, errno = unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), wholeMillis(timeout), 0, 0)
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

// wholeMillis rounds up, and is all ones for ever.
func wholeMillis(d time.Duration) uintptr {
	if d < 0 {
		return ^uintptr(0)
	}
	return uintptr(min((d+time.Millisecond-1)/time.Millisecond, math.MaxInt32))
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
