package fleet_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/proxy/netnstest"
)

// network is one switch and the hosts on it.
type network struct {
	t     *testing.T
	lan   *netnstest.Namespace
	hosts map[string]*host
}

// host is a machine with one cable to the switch.
type host struct {
	name, ip string
	*netnstest.Namespace
	network *network
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{t: t, lan: netnstest.New(t), hosts: map[string]*host{}}
	n.lan.IP(t, "link add lan type bridge", "link set lan up")
	return n
}

// host adds a host to the network.
func (n *network) host(name, ip string) *host {
	n.t.Helper()
	h := &host{name: name, ip: ip, Namespace: netnstest.New(n.t), network: n}
	n.hosts[name] = h
	n.lan.IP(n.t,
		fmt.Sprintf("link add name %s type veth peer name eth0 netns /proc/%d/fd/%d", h.port(), os.Getpid(), h.FD()),
		fmt.Sprintf("link set dev %s master lan up", h.port()))
	h.IP(n.t, "link set lo up", "addr add "+ip+"/24 dev eth0", "link set eth0 up")
	return h
}

// port is the switch's end of the host's cable.
func (h *host) port() string { return "port-" + h.name }

// unplug pulls the host's cable: no byte in or out, and nobody is told.
func (h *host) unplug() { h.network.lan.IP(h.network.t, "link set dev "+h.port()+" down") }

// plug puts it in again.
func (h *host) plug() { h.network.lan.IP(h.network.t, "link set dev "+h.port()+" up") }

// dial connects from the host.
func (h *host) dial(ctx context.Context, address string) (net.Conn, error) {
	var c net.Conn
	err := h.Do(func() error {
		var err error
		c, err = dialHere(ctx, address)
		return err
	})
	return c, err
}

// dialHere connects from where the thread is: for who calls it in Do.
func dialHere(ctx context.Context, address string) (net.Conn, error) {
	return (&net.Dialer{KeepAlive: -1}).DialContext(ctx, "tcp4", address)
}

// listen listens on the host.
func (h *host) listen(port string) (net.Listener, error) {
	var l net.Listener
	err := h.Do(func() error {
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
