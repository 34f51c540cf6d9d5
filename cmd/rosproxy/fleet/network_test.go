package fleet_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// network is one switch and the hosts on it.
type network struct {
	t     *testing.T
	lan   *namespace
	hosts map[string]*host
}

// host is a machine with one cable to the switch.
type host struct {
	name, ip string
	*namespace
	network *network
}

// namespace is a network namespace without a name. It is gone when its file
// is closed and no process or socket is left in it.
type namespace struct{ file *os.File }

func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{t: t, lan: newNamespace(t), hosts: map[string]*host{}}
	n.lan.ip(t, "link add lan type bridge", "link set lan up")
	return n
}

// host adds a host to the network.
func (n *network) host(name, ip string) *host {
	n.t.Helper()
	h := &host{name: name, ip: ip, namespace: newNamespace(n.t), network: n}
	n.hosts[name] = h
	n.lan.ip(n.t,
		fmt.Sprintf("link add name %s type veth peer name eth0 netns /proc/%d/fd/%d", h.port(), os.Getpid(), h.file.Fd()),
		fmt.Sprintf("link set dev %s master lan up", h.port()))
	h.namespace.ip(n.t, "link set lo up", "addr add "+ip+"/24 dev eth0", "link set eth0 up")
	return h
}

// port is the switch's end of the host's cable.
func (h *host) port() string { return "port-" + h.name }

// unplug pulls the host's cable: no byte in or out, and nobody is told.
func (h *host) unplug() { h.network.lan.ip(h.network.t, "link set dev "+h.port()+" down") }

// plug puts it in again.
func (h *host) plug() { h.network.lan.ip(h.network.t, "link set dev "+h.port()+" up") }

func newNamespace(t *testing.T) *namespace {
	t.Helper()
	var file *os.File
	err := onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return os.NewSyscallError("unshare", err)
		}
		var err error
		file, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	t.Cleanup(func() { file.Close() })
	return &namespace{file}
}

// ip runs commands of iproute2 in the namespace.
func (n *namespace) ip(t *testing.T, commands ...string) {
	t.Helper()
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	var out []byte
	err := n.do(func() error {
		var err error
		out, err = cmd.CombinedOutput()
		return err
	})
	if err != nil {
		t.Fatalf("ip %q: %v\n%s", commands, err, out)
	}
}

// do calls f in the namespace: a socket that f makes and a process that it
// starts belong there for good, whoever uses them later.
func (n *namespace) do(f func() error) error {
	return onOwnThread(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return os.NewSyscallError("setns", err)
		}
		return f()
	})
}

// onOwnThread calls f on a thread that ends with it: one that has been in
// another namespace must not go back to Go's scheduler.
func onOwnThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked, which ends the thread
		done <- f()
	}()
	return <-done
}

// dial connects from the host.
func (h *host) dial(ctx context.Context, address string) (net.Conn, error) {
	var c net.Conn
	err := h.do(func() error {
		var err error
		c, err = dialHere(ctx, address)
		return err
	})
	return c, err
}

// dialHere connects from where the thread is: for who calls it in do.
func dialHere(ctx context.Context, address string) (net.Conn, error) {
	return (&net.Dialer{KeepAlive: -1}).DialContext(ctx, "tcp4", address)
}

// listen listens on the host.
func (h *host) listen(port string) (net.Listener, error) {
	var l net.Listener
	err := h.do(func() error {
		var err error
		l, err = net.Listen("tcp4", net.JoinHostPort(h.ip, port))
		return err
	})
	return l, err
}

// web is an HTTP client on the host.
func (h *host) web() *http.Client {
	return &http.Client{Timeout: testTimeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			return h.dial(ctx, address)
		},
	}}
}
