// Package lan makes hosts of network namespaces, with cables to switches that
// can be pulled, and runs programs on them.
package lan

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"
)

// Network is some switches and the hosts that are connected to them.
type Network struct {
	core  *namespace
	hosts []*Host
	ports int
}

// Host is a machine with a cable to one switch or more.
type Host struct {
	Name string
	*namespace
	network *Network
	cards   []card
}

// card is where a host is connected to a switch.
type card struct {
	lan, port, device, mac string
	ip                     netip.Addr
}

// New makes a network with one switch for each name.
func New(switches ...string) (*Network, error) {
	core, err := newNamespace()
	if err != nil {
		return nil, err
	}
	n := &Network{core: core}
	for _, s := range switches {
		if err := core.ip("link add "+s+" type bridge", "link set "+s+" up"); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// Host adds a host. Cables are pairs of a switch and the host's address there.
func (n *Network) Host(name string, cables ...string) (*Host, error) {
	ns, err := newNamespace()
	if err != nil {
		return nil, err
	}
	h := &Host{Name: name, namespace: ns, network: n}
	if err := ns.ip("link set lo up"); err != nil {
		return nil, err
	}
	for i := 0; i+1 < len(cables); i += 2 {
		if err := h.connect(cables[i], netip.MustParseAddr(cables[i+1])); err != nil {
			return nil, err
		}
	}
	n.hosts = append(n.hosts, h)
	return h, nil
}

func (h *Host) connect(lan string, ip netip.Addr) error {
	n := h.network
	n.ports++
	c := card{lan: lan, ip: ip, port: fmt.Sprintf("port%d", n.ports), device: fmt.Sprintf("eth%d", len(h.cards)), mac: fmt.Sprintf("02:00:00:00:00:%02x", n.ports)}
	h.cards = append(h.cards, c)
	return errors.Join(
		n.core.ip(
			fmt.Sprintf("link add name %s type veth peer name %s netns /proc/%d/fd/%d", c.port, c.device, os.Getpid(), h.file.Fd()),
			fmt.Sprintf("link set dev %s master %s up", c.port, lan)),
		h.ip(
			fmt.Sprintf("link set %s address %s", c.device, c.mac),
			fmt.Sprintf("addr add %s/24 dev %s", c.ip, c.device),
			"link set "+c.device+" up"))
}

// Introduce tells every host where the others are. Then no segment waits for an
// answer to ARP: one that does outlives the reset of its socket, which the README
// has among its limits.
func (n *Network) Introduce() error {
	for _, h := range n.hosts {
		var commands []string
		for _, mine := range h.cards {
			for _, other := range n.hosts {
				for _, c := range other.cards {
					if other != h && c.lan == mine.lan {
						commands = append(commands, fmt.Sprintf("neigh replace %s lladdr %s dev %s nud permanent", c.ip, c.mac, mine.device))
					}
				}
			}
		}
		if err := h.ip(commands...); err != nil {
			return err
		}
	}
	return nil
}

// IP is the host's address on a switch.
func (h *Host) IP(lan string) netip.Addr {
	for _, c := range h.cards {
		if c.lan == lan {
			return c.ip
		}
	}
	return netip.Addr{}
}

// Device is the name of the host's card on a switch.
func (h *Host) Device(lan string) string {
	for _, c := range h.cards {
		if c.lan == lan {
			return c.device
		}
	}
	return ""
}

// Unplug pulls the host's cable to a switch: no byte in or out, and nobody is told.
func (h *Host) Unplug(lan string) error { return h.set(lan, "down") }

// Plug puts the cable back.
func (h *Host) Plug(lan string) error { return h.set(lan, "up") }

func (h *Host) set(lan, state string) error {
	for _, c := range h.cards {
		if c.lan == lan {
			return h.network.core.ip("link set dev " + c.port + " " + state)
		}
	}
	return fmt.Errorf("%s has no cable to %s", h.Name, lan)
}

// Dial connects from the host.
func (h *Host) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var c net.Conn
	err := h.Do(func() error {
		var err error
		c, err = DialHere(ctx, network, address)
		return err
	})
	return c, err
}

// DialHere connects from where the thread is: for who calls it in Do.
func DialHere(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{KeepAlive: -1}).DialContext(ctx, network, address)
}

// Web is an HTTP client on the host. It keeps no connections.
func (h *Host) Web(timeout time.Duration) *http.Client {
	return &http.Client{Timeout: timeout, Transport: &http.Transport{DisableKeepAlives: true, DialContext: h.Dial}}
}
