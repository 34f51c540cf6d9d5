package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// adoptListener copies a listening socket that somebody else has opened, and
// gives it the options that one of our own would have.
func adoptListener(f *os.File, o socketOptions) (fd int, bound netip.AddrPort, err error) {
	if fd, err = duplicate(f); err != nil {
		return noFD, bound, fmt.Errorf("take over socket %s: %w", f.Name(), err)
	}
	if err = checkListening(fd); err == nil {
		err = prepareAdopted(fd, o)
	}
	if err == nil {
		bound, err = localAddress(fd)
	}
	if err != nil {
		closeFD(fd)
		return noFD, bound, fmt.Errorf("take over socket %s: %w", f.Name(), err)
	}
	return fd, bound, nil
}

// duplicate copies the descriptor of f. Not by Fd: that may set the socket,
// which other processes have as well, to blocking.
func duplicate(f *os.File) (fd int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return noFD, err
	}
	if e := raw.Control(func(of uintptr) { fd, err = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0) }); e != nil {
		return noFD, e
	}
	return fd, os.NewSyscallError("fcntl", err)
}

// checkListening wants a TCP socket in the state of listen: no MPTCP, which splice would pay for.
func checkListening(fd int) error {
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
func prepareAdopted(fd int, o socketOptions) error {
	if err := unix.SetNonblock(fd, true); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	allowNewHandshakes(fd) // a process that was killed in its pause left its filter
	if o.keepAlive == 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0); err != nil {
			return fmt.Errorf("unset TCP keepalive: %w", err)
		}
	}
	if o.userTimeout == 0 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 0); err != nil {
			return fmt.Errorf("unset TCP_USER_TIMEOUT: %w", err)
		}
	}
	if err := o.apply(fd); err != nil {
		return err
	}
	return lengthenQueue(fd)
}

// ListenerFiles gives copies of the listening sockets, in the order of
// Config.Listeners, for another process. They are the caller's to close.
func (p *Proxy) ListenerFiles() ([]*os.File, error) {
	l := &p.listeners
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.open.Load() {
		return nil, errors.New("copy the listeners: they are closed")
	}
	var files []*os.File
	for i, fd := range l.fds {
		c, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			for _, f := range files {
				_ = f.Close()
			}
			return nil, fmt.Errorf("copy the listener %q: %w", l.configured[i].Label, os.NewSyscallError("fcntl", err))
		}
		files = append(files, os.NewFile(uintptr(c), l.configured[i].Label))
	}
	return files, nil
}

// Release stops accepting for good, because another process has the same
// sockets and accepts from them: nothing is done to the sockets themselves, and
// what is in their queues is the other's. When it returns, no copy of them is
// open here. Resume is an error from then on; a Shutdown or Pause finds
// nothing to pause.
func (p *Proxy) Release() error {
	l := &p.listeners
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.open.Load() {
		return errors.New("release the listeners: they are closed")
	}
	p.leaveListeners()
	l.closeAll()
	l.released = true
	for _, at := range l.bound {
		p.log.Info().Stringer("listen", at).Msg("listener handed over")
	}
	return nil
}

// LookAgain has the shards look into the listen queues. It is for after
// another process has released the sockets: the kernel wakes one waiter a
// connection, and that may have been the one that went.
func (p *Proxy) LookAgain() {
	p.tell(func(s *shard) {
		if s.accepting {
			s.leaveListeners()
			s.acceptAgain() // adding a socket to an epoll looks at its queue
		}
	})
}

// Listeners are the listeners as configured.
func (p *Proxy) Listeners() []Listener { return p.config.Listeners }

// Close closes the listeners of a Proxy for which Serve is not to be called;
// after Serve it does nothing.
func (p *Proxy) Close() error {
	if p.serving.CompareAndSwap(false, true) {
		p.close()
	}
	return nil
}
