package sock

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Options apply to both sides of every connection.
type Options struct {
	KeepAlive   time.Duration // 0: off
	UserTimeout time.Duration // how long an idle peer may leave probes unanswered; 0: three times KeepAlive
	Buffer      int           // bytes that the socket's buffers are for, each; 0: the kernel tunes them

	Congestion      string // control of all connections; empty: the system's, but for
	LocalCongestion string // those within this host, which have this one; empty: they too
}

// An idle peer has several probes to answer, so that a few that are lost end
// nothing: with a loss of 5 % each way, one idle period in a thousand loses
// three in a row, one in ten thousand million loses ten.
const (
	mostProbes   = 10
	fewestProbes = 3
)

// probes is how far apart keepalive's probes are, in seconds, and how many may
// be unanswered: together they last for the user timeout.
func (o Options) probes() (interval, count int) {
	if o.UserTimeout == 0 {
		return wholeSeconds(o.KeepAlive), fewestProbes
	}
	interval = wholeSeconds(o.UserTimeout / mostProbes)
	return interval, max(wholeSeconds(o.UserTimeout/time.Duration(interval)), fewestProbes)
}

// apply sets all options on fd. Linux copies them from a listening socket to
// those it accepts (sk_clone_lock, tcp_create_openreq_child), which
// TestBothSidesHaveTheSocketOptions pins. The socket listens at an address, or is to.
func (o Options) apply(fd int, at netip.Addr) error {
	if err := o.applyFirst(fd, at); err != nil {
		return err
	}
	return o.ApplyLater(fd)
}

// applyFirst sets what a connection from or to a needs for its first byte.
func (o Options) applyFirst(fd int, a netip.Addr) error {
	if err := setOption(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return fmt.Errorf("set TCP_NODELAY: %w", err)
	}
	// Urgent data is part of the stream to us: what comes in is passed on.
	if err := setOption(fd, unix.SOL_SOCKET, unix.SO_OOBINLINE, 1); err != nil {
		return fmt.Errorf("set SO_OOBINLINE: %w", err)
	}
	if err := o.chooseCongestion(fd, a); err != nil {
		return err
	}
	return o.boundBuffers(fd)
}

// boundBuffers must come before the handshake, which agrees on how large a
// window can be. The kernel takes twice as much for each, since its own of each
// segment counts too, and no more than net.core.rmem_max and wmem_max.
func (o Options) boundBuffers(fd int) error {
	if o.Buffer == 0 {
		return nil
	}
	if err := errors.Join(
		setOption(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, o.Buffer),
		setOption(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, o.Buffer),
	); err != nil {
		return fmt.Errorf("set the size of the socket's buffers: %w", err)
	}
	return nil
}

// ApplyLater sets what finds an idle peer dead. The kernel looks at these when
// a timer of the socket fires, so that it is soon enough to set them before the
// first one could: a connection that is over by then saves four calls.
func (o Options) ApplyLater(fd int) error {
	if o.KeepAlive == 0 {
		return nil
	}
	interval, count := o.probes()
	if err := errors.Join(
		setOption(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1),
		setOption(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, wholeSeconds(o.KeepAlive)),
		setOption(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, interval),
		setOption(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, count),
	); err != nil {
		return fmt.Errorf("set TCP keepalive: %w", err)
	}
	return nil
}

// wholeSeconds rounds up, and stays in what the kernel takes (MAX_TCP_KEEPIDLE).
func wholeSeconds(d time.Duration) int {
	return int(min(max((d+time.Second-1)/time.Second, 1), 32767))
}

func setOption(fd, level, name, value int) error {
	v := int32(value)
	_, _, errno := unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name), uintptr(unsafe.Pointer(&v)), unsafe.Sizeof(v), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
