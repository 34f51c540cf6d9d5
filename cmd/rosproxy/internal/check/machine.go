package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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
	timeWait      = 60    // seconds: TCP_TIMEWAIT_LEN of the kernel
	procSomaxconn = "/proc/sys/net/core/somaxconn"
	procPipePages = "/proc/sys/fs/pipe-user-pages-soft"
	procPortRange = "/proc/sys/net/ipv4/ip_local_port_range"
	procTWReuse   = "/proc/sys/net/ipv4/tcp_tw_reuse"

	procCongestion = "/proc/sys/net/ipv4/tcp_congestion_control"
	procQdisc      = "/proc/sys/net/core/default_qdisc"
)

// checkDescriptors holds --max-conns against RLIMIT_NOFILE, as a run does, and
// gives how many connections there will be at most. Go has raised the soft
// limit to the hard one by now.
func checkDescriptors(r *report, c config.Config) (conns int) {
	limits, err := listen.CurrentLimits()
	if err != nil {
		r.fail("open files: read limit: %v", err)
		return c.Proxy.MaxConns
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
	return cmp.Or(c.Proxy.MaxConns, room.Conns)
}

// checkPorts holds that against the ports that connections to one master, from
// one address of this machine, have between them.
func checkPorts(r *report, conns int) {
	ports, err := readProcInts(procPortRange, 2)
	if err != nil {
		r.warn("ports: %v", err)
		return
	}
	n := ports[1] - ports[0] + 1
	if n < conns {
		r.warn("ports: net.ipv4.ip_local_port_range %d to %d has %d for the connections to a master; there is room for %d connections", ports[0], ports[1], n, conns)
	} else {
		r.ok("ports: net.ipv4.ip_local_port_range %d to %d has %d for the connections to a master", ports[0], ports[1], n)
	}
	switch reuse, err := readProcInt(procTWReuse); {
	case err != nil:
		r.warn("ports: %v", err)
	case reuse == 0:
		r.warn("ports: net.ipv4.tcp_tw_reuse is 0; a port whose connection was closed from here first is not used again for a minute, 1 is better")
	case reuse == 2:
		r.ok("ports: net.ipv4.tcp_tw_reuse is 2, for the loopback alone; to a master elsewhere there are ports for %d connections a second that clients close first, 1 is better", n/timeWait)
	default:
		r.ok("ports: net.ipv4.tcp_tw_reuse is %d", reuse)
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

// checkCongestion tells what the congestion control costs.
func checkCongestion(r *report, c config.Config) {
	name, err := readProc(procCongestion)
	if c.Proxy.Congestion != "" {
		name, err = c.Proxy.Congestion, nil
	}
	if err != nil {
		r.warn("congestion control: %v", err)
		return
	}
	qdisc, err := readProc(procQdisc)
	switch {
	case err != nil:
		r.warn("congestion control: %v", err)
	case proxy.CongestionPaces(name) && qdisc != "fq":
		r.warn("congestion control: %s takes a timer for nearly each send where an interface has no fq, and net.core.default_qdisc is %s; where round trips are short, --congestion-control cubic costs less CPU for streams", name, qdisc)
	default:
		r.ok("congestion control: %s", name)
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
	n, err := readProcInts(path, 1)
	if err != nil {
		return 0, err
	}
	return n[0], nil
}

func readProc(path string) (string, error) {
	b, err := os.ReadFile(path)
	return strings.TrimSpace(string(b)), err
}

func readProcInts(path string, want int) ([]int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(string(b))
	if len(fields) != want {
		return nil, fmt.Errorf("read %s: got %d fields; want %d", path, len(fields), want)
	}
	numbers := make([]int, want)
	for i, f := range fields {
		if numbers[i], err = strconv.Atoi(f); err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
	}
	return numbers, nil
}

// checkAddresses reports whether the listeners could be opened. An address in use
// is no fault: it may well be this proxy, running.
func checkAddresses(ctx context.Context, r *report, c config.Config) {
	for _, l := range c.Proxy.Listeners {
		checkListener(ctx, r, "listen "+l.Label+"="+l.Address, l.Address)
	}
	checkEndpoint(ctx, r, "admin listen", c.Admin.Endpoint)
	if c.AgentCheck.Network != "" {
		checkEndpoint(ctx, r, "agent check listen", c.AgentCheck)
	}
}

// checkListener looks at every address that the listener's stands for.
func checkListener(ctx context.Context, r *report, subject, address string) {
	all, err := listen.Addresses(ctx, address)
	if err != nil {
		r.fail("%s: %v", subject, err)
		return
	}
	for _, one := range all {
		if one != address {
			checkAddress(r, subject+" at "+one, one)
		} else {
			checkAddress(r, subject, one)
		}
	}
}

func checkEndpoint(ctx context.Context, r *report, subject string, e config.Endpoint) {
	if e.Network == "tcp" {
		checkListener(ctx, r, subject+" "+e.Address, e.Address)
		return
	}
	if dir := filepath.Dir(e.Address); unix.Access(dir, unix.W_OK|unix.X_OK) != nil {
		r.fail("%s unix:%s: no socket can be made in %s", subject, e.Address, dir)
		return
	}
	r.ok("%s unix:%s", subject, e.Address)
}

func checkAddress(r *report, subject, address string) {
	switch err := tryBind(address); {
	case err == nil:
		r.ok("%s", subject)
	case errors.Is(err, unix.EADDRINUSE):
		r.warn("%s: in use, by a running proxy or something else", subject)
	default:
		r.fail("%s: %v", subject, err)
	}
}

// tryBind binds a socket to IP:PORT, and closes it without listening.
func tryBind(address string) error {
	host, port, reason := config.SplitHostPort(address)
	if reason != "" {
		return errors.New(reason)
	}
	ip := netip.IPv6Unspecified()
	if host != "" {
		one, err := netip.ParseAddr(host)
		if err != nil {
			return err
		}
		ip = one.Unmap()
	}
	err := listen.TryBind(netip.AddrPortFrom(ip, port))
	if host == "" && errors.Is(err, unix.EAFNOSUPPORT) { // a machine without IPv6
		err = listen.TryBind(netip.AddrPortFrom(netip.IPv4Unspecified(), port))
	}
	return err
}
