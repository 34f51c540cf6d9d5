package sock

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Adopt copies a listening socket that somebody else has opened, and
// gives it the options that one of our own would have.
func Adopt(f *os.File, o Options) (fd int, bound netip.AddrPort, err error) {
	if fd, err = duplicateFile(f); err != nil {
		return NoFD, bound, fmt.Errorf("take over socket %s: %w", f.Name(), err)
	}
	if err = CheckListening(fd); err == nil {
		bound, err = LocalAddress(fd)
	}
	if err == nil {
		err = prepareAdopted(fd, bound.Addr(), o)
	}
	if err != nil {
		Close(fd)
		return NoFD, bound, fmt.Errorf("take over socket %s: %w", f.Name(), err)
	}
	return fd, bound, nil
}

// duplicateFile copies the descriptor of f. Not by Fd: that may set the socket,
// which other processes have as well, to blocking.
func duplicateFile(f *os.File) (fd int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return NoFD, err
	}
	if e := raw.Control(func(of uintptr) { fd, err = Duplicate(int(of)) }); e != nil {
		return NoFD, e
	}
	return fd, err
}

// CheckListening wants a TCP socket in the state of listen: no MPTCP, which splice would pay for.
func CheckListening(fd int) error {
	for _, want := range []struct {
		option int
		value  []int
		fault  string
	}{
		{unix.SO_TYPE, []int{unix.SOCK_STREAM}, "it is no stream socket"},
		{unix.SO_DOMAIN, []int{unix.AF_INET, unix.AF_INET6}, "it is no socket of the internet"},
		{unix.SO_PROTOCOL, []int{unix.IPPROTO_TCP}, "its protocol is not TCP"},
		{unix.SO_ACCEPTCONN, []int{1}, "it does not listen"},
	} {
		got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, want.option)
		if err != nil {
			return os.NewSyscallError("getsockopt", err)
		}
		if got != want.value[0] && got != want.value[len(want.value)-1] {
			return errors.New(want.fault)
		}
	}
	return nil
}

// prepareAdopted undoes what whoever had the socket has set, then sets what is
// wanted here.
func prepareAdopted(fd int, at netip.Addr, o Options) error {
	if err := unix.SetNonblock(fd, true); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	AllowNewHandshakes(fd) // a process that was killed while it stopped accepting left its filter
	if o.KeepAlive == 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0); err != nil {
			return fmt.Errorf("unset TCP keepalive: %w", err)
		}
	}
	if o.Buffer == 0 {
		_ = setOption(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK, 0) // since Linux 5.14
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 0); err != nil {
		return fmt.Errorf("unset TCP_USER_TIMEOUT: %w", err)
	}
	if system := SystemCongestion(); system != "" && o.congestionFor(at) == "" {
		if err := setCongestion(fd, system); err != nil {
			return err
		}
	}
	if err := o.apply(fd, at); err != nil {
		return err
	}
	return lengthenQueue(fd)
}

// Duplicate copies a descriptor; the copy is closed on exec.
func Duplicate(fd int) (int, error) {
	c, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	return c, os.NewSyscallError("fcntl", err)
}
