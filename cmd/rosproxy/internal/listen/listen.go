// Package listen opens the listening sockets of the program: those that the
// process was started with, by systemd or by its predecessor, before new ones.
package listen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Limits are how many connections the endpoints hold at a time.
type Limits struct{ Admin, Agent int }

// Descriptors is how many they may have open.
func (l Limits) Descriptors() int { return l.Admin + l.Agent }

// LimitsFor shares out what a process with so many descriptors can spare. All
// that the endpoints may hold is part of what the proxy leaves free for them.
func LimitsFor(descriptors int) Limits {
	return Limits{Admin: min(max(descriptors/16, 8), 256), Agent: min(max(descriptors/64, 4), 64)}
}

// CurrentLimits are those of RLIMIT_NOFILE.
func CurrentLimits() (Limits, error) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return Limits{}, os.NewSyscallError("getrlimit", err)
	}
	return LimitsFor(int(min(l.Cur, math.MaxInt32))), nil
}

// open opens a listener whose connections are p's; name is what its errors
// call it, mode that of a unix socket.
func open(ctx context.Context, name, network, address string, mode uint32, p *pool) (*limitListener, error) {
	var lc net.ListenConfig
	if network == "unix" {
		if err := removeStaleSocket(address); err != nil {
			return nil, fmt.Errorf("listen on %s socket %s: %w", name, address, err)
		}
		lc.Control = narrowMode(mode)
	} else {
		lc.SetMultipathTCP(false)
		network = familyOf(address)
	}
	l, err := lc.Listen(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s address %s: %w", name, address, err)
	}
	if network == "unix" {
		if err := os.Chmod(address, os.FileMode(mode)); err != nil { // a narrow umask may have taken bits away
			return nil, errors.Join(fmt.Errorf("set mode of %s socket: %w", name, err), l.Close())
		}
	}
	return limited(l, p), nil
}

// familyOf is Go's network for a listener on address. For "tcp" Go takes 0.0.0.0
// for all addresses, those of IPv6 as well, which nobody has asked for, and which a
// successor would not take for its own.
func familyOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if ip, e := netip.ParseAddr(host); err == nil && e == nil && ip.Is4() {
		return "tcp4"
	}
	return "tcp"
}

// Modes of unix sockets.
const (
	socketMode  = 0o660
	privateMode = 0o600
)

// narrowMode gives the socket its mode before bind makes the file of it, so
// that there is no moment at which others could connect.
func narrowMode(mode uint32) func(_, _ string, raw syscall.RawConn) error {
	return func(_, _ string, raw syscall.RawConn) error {
		var err error
		if e := raw.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), mode) }); e != nil {
			return e
		}
		return err
	}
}

// removeStaleSocket removes a socket that nobody listens on: what a process
// that was killed left behind.
func removeStaleSocket(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("the file is there and is no socket")
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		return errors.Join(errors.New("in use by another process"), c.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}
