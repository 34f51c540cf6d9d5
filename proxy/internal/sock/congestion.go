package sock

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Congestion control is the system's (net.ipv4.tcp_congestion_control), but for
// connections within this host where that paces. BBR does: where the queueing
// discipline is not fq, and that of the loopback is none, by a timer of each socket
// for nearly each send (net/ipv4/tcp_output.c: tcp_pacing_check). Four streams over
// the loopback took 0.22 s of CPU for a GB with it, and 0.12 without (Linux 6.18).
// No link is there whose queue it could keep short.
const withoutPacing = "reno" // which every kernel has, and lets everybody choose

const procCongestionControl = "/proc/sys/net/ipv4/tcp_congestion_control"

// maxCongestionName is TCP_CA_NAME_MAX of the kernel, less the byte that ends it.
const maxCongestionName = 15

// SystemCongestion is the system's choice; empty where it is not known.
func SystemCongestion() string {
	b, err := os.ReadFile(procCongestionControl)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// Paces reports whether a congestion control spaces out what it sends.
func Paces(name string) bool { return strings.HasPrefix(name, "bbr") }

// LocalCongestion is for connections within this host; empty: the system's.
func LocalCongestion() string {
	if !Paces(SystemCongestion()) || CheckCongestion(withoutPacing) != nil {
		return ""
	}
	return withoutPacing
}

// CheckCongestion says why a socket of this process cannot have a congestion control.
func CheckCongestion(name string) error {
	if name == "" || len(name) > maxCongestionName {
		return fmt.Errorf("not 1 to %d characters", maxCongestionName)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer Close(fd)
	switch err := setCongestion(fd, name); {
	case errors.Is(err, unix.ENOENT):
		return errors.New("this kernel has no such congestion control (net.ipv4.tcp_available_congestion_control)")
	case errors.Is(err, unix.EPERM):
		return errors.New("this user may not choose it (net.ipv4.tcp_allowed_congestion_control)")
	default:
		return err
	}
}

// congestionFor is the congestion control of connections from or to a; empty: the system's.
func (o Options) congestionFor(a netip.Addr) string {
	if o.Congestion == "" && a.IsLoopback() {
		return o.LocalCongestion
	}
	return o.Congestion
}

// chooseCongestion must come before the handshake: pacing that has begun does not end.
func (o Options) chooseCongestion(fd int, a netip.Addr) error {
	name := o.congestionFor(a)
	if name == "" {
		return nil
	}
	return setCongestion(fd, name)
}

func setCongestion(fd int, name string) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, uintptr(unsafe.Pointer(unsafe.StringData(name))), uintptr(len(name)), 0)
	if errno != 0 {
		return fmt.Errorf("set TCP_CONGESTION to %s: %w", name, errno)
	}
	return nil
}
