package sock

import (
	"math"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Readiness as epoll reports it.
const (
	ReadyIn     = unix.EPOLLIN
	ReadyOut    = unix.EPOLLOUT
	ReadyFIN    = unix.EPOLLRDHUP
	ReadyUrgent = unix.EPOLLPRI
	ReadyHUP    = unix.EPOLLHUP
	ReadyError  = unix.EPOLLERR
)

// Token is what epoll gives back with an event: which slot of which kind, and
// which of its connections (generation). Never a pointer: an event can outlive it.
type Token struct {
	Slot       int32
	Generation uint32
}

// Event is what epoll says of one descriptor: Events has the readiness.
type Event struct{ unix.EpollEvent }

// Token is the one that the descriptor was added with.
func (e *Event) Token() Token { return Token{e.Fd, uint32(e.Pad)} }

// Poller is one epoll instance. Whoever waits is one goroutine.
type Poller struct {
	fd   int
	busy bool // the last wait ended by events before the scheduler was told of it
}

// NewPoller opens an epoll instance, to be closed by Close.
func NewPoller() (Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return Poller{fd: -1}, os.NewSyscallError("epoll_create1", err)
	}
	return Poller{fd: fd}, nil
}

func (p Poller) control(op, fd int, events uint32, t Token) error {
	e := unix.EpollEvent{Events: events, Fd: t.Slot, Pad: int32(t.Generation)}
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(p.fd), uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(&e)), 0, 0)
	if errno != 0 {
		return os.NewSyscallError("epoll_ctl", errno)
	}
	return nil
}

// AddConn watches a connection's socket for everything, edge-triggered, in one call for its whole life.
func (p Poller) AddConn(fd int, t Token) error {
	return p.control(unix.EPOLL_CTL_ADD, fd, ReadyIn|ReadyOut|ReadyFIN|ReadyUrgent|unix.EPOLLET, t)
}

// AddListener wakes one shard a connection rather than all of them.
func (p Poller) AddListener(fd int, t Token) error {
	return p.control(unix.EPOLL_CTL_ADD, fd, ReadyIn|unix.EPOLLEXCLUSIVE, t)
}

// AddWaker watches fd, of OpenWaker, level-triggered: it is ready until ClearWake.
func (p Poller) AddWaker(fd int, t Token) error {
	return p.control(unix.EPOLL_CTL_ADD, fd, ReadyIn, t)
}

// Remove stops watching fd.
func (p Poller) Remove(fd int) error { return p.control(unix.EPOLL_CTL_DEL, fd, 0, Token{}) }

// How long a wait for events is hidden from Go's scheduler.
const (
	attention = 2 * time.Millisecond
	// busyAttention is that of a loop under load, whose waits end long before. It
	// is longer than the kernel's tick (4 ms, or 10): a timer that is due before
	// the tick has the clock of the hardware set anew when it is armed and again
	// when it is not needed, which is a microsecond each on a virtual machine,
	// as much as a send.
	busyAttention = 20 * time.Millisecond
)

// Wait returns the events of at most timeout; negative waits for ever, zero
// does not wait. It may return earlier, without any.
//
// It waits for a moment without telling the scheduler, and tells it only when
// nothing has come by then. A shard under load sleeps a thousand times a
// second for less than that; each time the scheduler's monitor would take its
// P away and then look again every 20 us, which cost more CPU than the events.
// Nothing waits for that P meanwhile where there are more of them than shards,
// and the signals of the garbage collector, and of the monitor to a goroutine
// that has had its P for 10 ms, end the wait.
func (p *Poller) Wait(events []Event, timeout time.Duration) (int, error) {
	hidden, rest := p.split(timeout)
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), wholeMillis(hidden), 0, 0)
	if hidden > 0 {
		p.busy = errno == 0 && n > 0
	}
	if n == 0 && errno == 0 && rest != 0 {
		n, _, errno = unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), wholeMillis(rest), 0, 0)
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

// split says how much of a wait is hidden, and what of it is left then.
func (p *Poller) split(timeout time.Duration) (hidden, rest time.Duration) {
	hidden = attention
	if p.busy {
		hidden = busyAttention
	}
	switch {
	case timeout < 0:
		return hidden, timeout
	case timeout <= hidden:
		return timeout, 0
	default:
		return hidden, timeout - hidden
	}
}

// wholeMillis rounds up, and is all ones for ever.
func wholeMillis(d time.Duration) uintptr {
	if d < 0 {
		return ^uintptr(0)
	}
	return uintptr(min((d+time.Millisecond-1)/time.Millisecond, math.MaxInt32))
}

// OpenWaker opens an eventfd, by which another goroutine ends a Wait. It is the
// caller's to close.
func OpenWaker() (int, error) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return -1, os.NewSyscallError("eventfd", err)
	}
	return fd, nil
}

// Wake wakes the shard that watches fd.
func Wake(fd int) {
	one := [8]byte{1}
	_, _ = unix.Write(fd, one[:])
}

// ClearWake takes the wake-up back.
func ClearWake(fd int) {
	var b [8]byte
	_, _ = unix.Read(fd, b[:])
}

// Close closes the instance; what it watched stays open.
func (p Poller) Close() { Close(p.fd) }
