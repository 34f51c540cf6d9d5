// Package sock is the system calls of the data plane, which nothing else in
// package proxy makes: sockets, pipes, epoll, and the limits of the machine.
//
// A call that cannot block (the socket is non-blocking, or the call carries a
// flag that says so) goes through RawSyscall6 and does not tell Go's
// scheduler: a splice of 100 us would otherwise lose its P and wake another
// thread, which cost 10-20 % of the CPU per byte where it was measured.
package sock

import (
	"errors"

	"golang.org/x/sys/unix"
)

// NoFD stands for a descriptor that is not open.
const NoFD = -1

// Errors that callers compare with.
const (
	ErrAgain      = unix.EAGAIN
	ErrTimedOut   = unix.ETIMEDOUT
	ErrPipe       = unix.EPIPE
	errInProgress = unix.EINPROGRESS
)

// IsShortage reports whether the machine or the process is out of something
// that comes back when connections end.
func IsShortage(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM)
}

// IsOutOfPorts reports whether a connect found no local port for its
// destination: all of net.ipv4.ip_local_port_range are in use, or wait in TIME_WAIT.
func IsOutOfPorts(err error) bool { return errors.Is(err, unix.EADDRNOTAVAIL) }
