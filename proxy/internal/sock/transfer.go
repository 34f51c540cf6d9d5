package sock

import (
	"math"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Receive reads into b: 0 and nil at the end of the stream, ErrAgain when there is nothing.
func Receive(fd int, b []byte) (int, error) { return recv(fd, b, unix.MSG_DONTWAIT) }

// Peek is Receive, but leaves what it reads where it is.
func Peek(fd int, b []byte) (int, error) { return recv(fd, b, unix.MSG_DONTWAIT|unix.MSG_PEEK) }

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

// NothingButFIN reports whether the peer has closed without sending a byte that is still unread.
func NothingButFIN(fd int) bool {
	var b [1]byte
	n, err := Peek(fd, b[:])
	return err == nil && n == 0
}

// NothingToRead reports whether the receive queue of fd is empty and its peer
// has neither closed nor reset.
func NothingToRead(fd int) bool {
	var b [1]byte
	_, err := Peek(fd, b[:])
	return err == ErrAgain
}

// Discard throws away up to limit bytes that wait in the receive queue of fd.
func Discard(fd, limit int) { _ = discard(fd, nil, limit) }

// Skip takes off the receive queue of fd what Peek has read into b, whose bytes
// are worth nothing afterwards, and answers how many it has taken.
func Skip(fd int, b []byte) (taken int) { return discard(fd, unsafe.SliceData(b), len(b)) }

func discard(fd int, into *byte, limit int) (discarded int) {
	for discarded < limit {
		// MSG_TRUNC on a TCP socket drops the bytes without copying them (tcp(7)).
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(into)), uintptr(limit-discarded), unix.MSG_DONTWAIT|unix.MSG_TRUNC, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 || n == 0 {
			break
		}
		discarded += int(n)
	}
	return discarded
}

// Send writes b; fewer bytes than len(b), or ErrAgain, when the socket is full.
func Send(fd int, b []byte) (int, error) { return send(fd, b, 0) }

// SendFirstOf is Send for the beginning of what the next Send goes on with: both go
// out in one segment, or this one alone after 200 ms (MSG_MORE, send(2)).
func SendFirstOf(fd int, b []byte) (int, error) { return send(fd, b, unix.MSG_MORE) }

func send(fd int, b []byte, flags uintptr) (int, error) {
	flags |= unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), flags, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// Room is about how many bytes the send queue of fd takes at the moment. Its
// buffer has to hold the kernel's own of each segment too, which was a tenth
// where it was measured (bytes spliced from loopback, Linux 6.18). Where the
// kernel does not tell, it is any number.
func Room(fd int) int {
	var info [9]uint32 // SK_MEMINFO_VARS (linux/sock_diag.h)
	const sndbuf, queued = 3, 5
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO, uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return math.MaxInt32
	}
	return (int(info[sndbuf]) - int(info[queued])) / 8 * 7
}

// Splice moves up to n bytes between a socket and a pipe. Never with
// SPLICE_F_MORE: it would hold back the tail of a message for 200 ms.
func Splice(from, to, n int) (int, error) {
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

// OpenPipe makes a pipe of at least one page, of size bytes where the kernel allows it.
func OpenPipe(size int) (r, w, got int, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		return -1, -1, 0, os.NewSyscallError("pipe2", err)
	}
	// Refused with EPERM when the user's pipes are over fs.pipe-user-pages-soft
	// (pipe(7)); the pipe then keeps the size it has, which is read back.
	_, _ = unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, size)
	got, err = unix.FcntlInt(uintptr(fds[0]), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		Close(fds[0])
		Close(fds[1])
		return -1, -1, 0, os.NewSyscallError("fcntl", err)
	}
	return fds[0], fds[1], got, nil
}

// SendFIN ends the stream to the peer, behind what is queued; what the peer sends
// is still read.
func SendFIN(fd int) error {
	_, _, errno := unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), unix.SHUT_WR, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// Close closes fd, which is no connection.
func Close(fd int) {
	_, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
}

// Every socket of a connection has SO_LINGER with a time of 0 from Accept or
// Connect on: its close resets it and throws away what was queued for the
// peer, also the close at the death of the process. Without it a process that
// is killed delivers what its sockets hold, and its streams end by FIN as if
// they were whole.

// Reset closes the connection fd with a RST.
func Reset(fd int) { Close(fd) }

// CloseInOrder closes the connection fd with a FIN, after what is queued.
func CloseInOrder(fd int) {
	setLinger(fd, unix.Linger{})
	Close(fd)
}

func resetOnClose(fd int) { setLinger(fd, unix.Linger{Onoff: 1, Linger: 0}) }

func setLinger(fd int, l unix.Linger) {
	_, _, _ = unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_LINGER, uintptr(unsafe.Pointer(&l)), unsafe.Sizeof(l), 0)
}
