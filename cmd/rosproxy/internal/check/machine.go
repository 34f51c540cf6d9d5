package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/listen"
	"github.com/rosproxy/rosproxy/proxy"
)

// What the machine is measured against.
const (
	lowFiles      = 4096  // fewer than this is what a shell gives, not a service
	lowBacklog    = 1024  // a reconnect storm after a failover overflows less
	lowPipePages  = 16384 // the kernel's default
	procSomaxconn = "/proc/sys/net/core/somaxconn"
	procPipePages = "/proc/sys/fs/pipe-user-pages-soft"
)

// checkDescriptors holds --max-conns against RLIMIT_NOFILE, as a run does. Go
// has raised the soft limit to the hard one by now.
func checkDescriptors(r *report, c config.Config) {
	limits, err := listen.CurrentLimits()
	if err != nil {
		r.fail("open files: read limit: %v", err)
		return
	}
	room, err := proxy.RoomFor(c.Descriptors(cmp.Or(c.Proxy.Shards, runtime.GOMAXPROCS(0))) + limits.Descriptors())
	switch most := c.Proxy.MaxConns; {
	case err != nil:
		r.fail("open files: read limit: %v", err)
	case most > room.Conns:
		r.fail("open files: --max-conns %d is more than the limit of %d has room for: %d", most, room.Descriptors, room.Conns)
	case room.Descriptors < lowFiles:
		r.warn("open files: the limit of %d has room for %d connections", room.Descriptors, room.Conns)
	default:
		r.ok("open files: the limit of %d has room for %d connections", room.Descriptors, room.Conns)
	}
}

func checkKernel(r *report) {
	if n, err := readProcInt(procSomaxconn); err != nil {
		r.warn("listen queue: %v", err)
	} else if n < lowBacklog {
		r.warn("listen queue: net.core.somaxconn is %d; a reconnect storm may overflow it, %d is better", n, lowBacklog)
	} else {
		r.ok("listen queue: net.core.somaxconn is %d", n)
	}
	if isPrivileged() {
		r.ok("pipes: no limit for this user")
	} else if n, err := readProcInt(procPipePages); err != nil {
		r.warn("pipes: %v", err)
	} else if n > 0 && n < lowPipePages {
		r.warn("pipes: fs.pipe-user-pages-soft is %d; streams beyond it are copied instead of spliced", n)
	} else {
		r.ok("pipes: fs.pipe-user-pages-soft is %d", n)
	}
}

// isPrivileged reports whether the limit of pipes does not hold for this process: pipe(7).
func isPrivileged() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&header, &data[0]) != nil {
		return false
	}
	return data[0].Effective&(1<<unix.CAP_SYS_RESOURCE|1<<unix.CAP_SYS_ADMIN) != 0
}

func readProcInt(path string) (int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", path, err)
	}
	return n, nil
}

// checkAddresses reports whether the listeners could be opened. An address in use
// is no fault: it may well be this proxy, running.
func checkAddresses(ctx context.Context, r *report, c config.Config) {
	for _, l := range c.Proxy.Listeners {
		checkAddress(ctx, r, "listen "+l.Label+"="+l.Address, l.Address)
	}
	checkEndpoint(ctx, r, "admin listen", c.Admin.Endpoint)
	if c.AgentCheck.Network != "" {
		checkEndpoint(ctx, r, "agent check listen", c.AgentCheck)
	}
}

func checkEndpoint(ctx context.Context, r *report, subject string, e config.Endpoint) {
	if e.Network == "tcp" {
		checkAddress(ctx, r, subject+" "+e.Address, e.Address)
		return
	}
	if dir := filepath.Dir(e.Address); unix.Access(dir, unix.W_OK|unix.X_OK) != nil {
		r.fail("%s unix:%s: no socket can be made in %s", subject, e.Address, dir)
		return
	}
	r.ok("%s unix:%s", subject, e.Address)
}

func checkAddress(ctx context.Context, r *report, subject, address string) {
	switch err := tryBind(ctx, address); {
	case err == nil:
		r.ok("%s", subject)
	case errors.Is(err, unix.EADDRINUSE):
		r.warn("%s: in use, by a running proxy or something else", subject)
	default:
		r.fail("%s: %v", subject, err)
	}
}

// tryBind binds a socket to address, and closes it without listening.
func tryBind(ctx context.Context, address string) error {
	host, port, reason := config.SplitHostPort(address)
	if reason != "" {
		return errors.New(reason)
	}
	ip := netip.IPv6Unspecified()
	if host != "" {
		ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			return err
		}
		ip = ips[0].Unmap()
	}
	err := bindAndClose(ip, port)
	if host == "" && errors.Is(err, unix.EAFNOSUPPORT) { // a machine without IPv6
		err = bindAndClose(netip.IPv4Unspecified(), port)
	}
	return err
}

func bindAndClose(ip netip.Addr, port uint16) error {
	family, address := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Addr: as4(ip), Port: int(port)})
	if ip.Is6() {
		zone := uint32(0)
		if i, err := net.InterfaceByName(ip.Zone()); err == nil {
			zone = uint32(i.Index)
		}
		family, address = unix.AF_INET6, &unix.SockaddrInet6{Addr: ip.As16(), Port: int(port), ZoneId: zone}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	// As the listener will, so that connections in TIME_WAIT are no hindrance.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	return os.NewSyscallError("bind", unix.Bind(fd, address))
}

func as4(ip netip.Addr) [4]byte {
	if ip.Is4() {
		return ip.As4()
	}
	return [4]byte{}
}
