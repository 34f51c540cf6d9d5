package listen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxAddresses bounds what one name can make us listen on.
const maxAddresses = 16

// Addresses are what HOST:PORT stands for: itself, unless HOST is a name. Then
// they are those of its addresses that this machine has; where it has none of
// them, the first.
func Addresses(ctx context.Context, hostPort string) ([]string, error) {
	if host, _, err := net.SplitHostPort(hostPort); err == nil && (host == "" || isIP(host)) {
		return []string{hostPort}, nil
	}
	ips, port, err := Resolve(ctx, hostPort)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", hostPort, err)
	}
	var all, ours []string
	for _, ip := range ips {
		at := netip.AddrPortFrom(ip, port)
		all = append(all, at.String())
		// As localhost, which is ::1 too, whether there is IPv6 or not.
		if err := TryBind(at); !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, unix.EAFNOSUPPORT) {
			ours = append(ours, at.String())
		}
	}
	if len(ours) == 0 {
		return all[:1], nil
	}
	return ours, nil
}

// lookup is the system's, but for tests.
var lookup = net.DefaultResolver.LookupNetIP

// Resolve gives the addresses of HOST, IPv4 first, each once.
func Resolve(ctx context.Context, hostPort string) (ips []netip.Addr, port uint16, err error) {
	host, text, err := net.SplitHostPort(hostPort)
	if err != nil {
		return nil, 0, err
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, 0, fmt.Errorf("port %q is not a number from 0 to 65535", text)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip.Unmap()}, uint16(n), nil
	}
	if ips, err = lookup(ctx, "ip", host); err != nil {
		return nil, 0, err
	}
	for i := range ips {
		ips[i] = ips[i].Unmap()
	}
	slices.SortFunc(ips, netip.Addr.Compare)
	ips = slices.Compact(ips)
	return ips[:min(len(ips), maxAddresses)], uint16(n), nil
}

func isIP(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// TryBind binds a socket, and closes it without listening.
func TryBind(at netip.AddrPort) error {
	family, address := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Addr: as4(at.Addr()), Port: int(at.Port())})
	if ip := at.Addr(); ip.Is6() {
		zone := uint32(0)
		if i, err := net.InterfaceByName(ip.Zone()); err == nil {
			zone = uint32(i.Index)
		}
		family, address = unix.AF_INET6, &unix.SockaddrInet6{Addr: ip.As16(), Port: int(at.Port()), ZoneId: zone}
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
