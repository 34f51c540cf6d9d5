package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/proxy"
)

// TestConnectThatMeetsItselfIsNoMaster: the kernel may give a connect to a local
// port, on which nobody listens at the moment, that very port as its own, and
// TCP's simultaneous open then connects the socket to itself. Here it has no
// other port to give.
func TestConnectThatMeetsItselfIsNoMaster(t *testing.T) {
	noLeaks(t)
	newChildWithItsOwnNetwork(t, "itself").want("reset, connect_failed", "run")
}

// newItselfRole runs a proxy whose master is on the one port that outgoing
// connections may have, and answers what becomes of a client.
func newItselfRole() func(string, []string) string { return answering(clientOfItself) }

func clientOfItself() (how string, err error) {
	if err := setUpLoopback(); err != nil {
		return "", err
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("40000 40000"), 0); err != nil {
		return "", err
	}
	c := config()
	c.Listeners[0].Address = "127.0.0.1:7800"
	c.HoldTimeout = time.Second
	p, err := proxy.New(c, zerolog.Nop())
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go p.Serve(ctx)
	p.SetMaster("default", proxy.Master{Address: netip.MustParseAddrPort("127.0.0.1:40000")})
	client, err := dialTCP(p.Snapshot().Labels[0].Listen)
	if err != nil {
		return "", err
	}
	defer client.Close()
	if err := ask(client); !errors.Is(err, syscall.ECONNRESET) {
		return fmt.Sprintf("asked and got: %v", err), nil
	}
	for i, n := range p.Snapshot().Labels[0].Closed {
		if n > 0 {
			how = fmt.Sprint("reset, ", proxy.Reason(i))
		}
	}
	return how, nil
}

func setUpLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return os.NewSyscallError("ioctl", unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo))
}
