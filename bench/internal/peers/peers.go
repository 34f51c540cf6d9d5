// Package peers runs the proxies that are compared, each configured as its
// users would for this job, each a process of its own.
package peers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/rosproxy/rosproxy/bench/internal/proc"
)

// The peers.
const (
	Rosproxy = "rosproxy"
	HAProxy  = "haproxy"
	Nginx    = "nginx"
	Naive    = "io.Copy" // a proxy in Go, two goroutines of io.Copy a connection
	Direct   = "direct"  // no proxy at all
	Floor    = "floor"   // the least that a proxy can do, in C: what is the kernel's

	BulkFloor = "bulk floor" // the same for streams: splices instead of copies
)

// IsRival reports whether name is a peer's that is not rosproxy.
func IsRival(name string) bool {
	return slices.Contains([]string{HAProxy, Nginx, Naive, Direct, Floor, BulkFloor}, name)
}

// Options of one run of a peer.
type Options struct {
	Dir      string // for its configuration and log; others may read it
	Rosproxy string // path of rosproxy's binary
	To       string // address of the master
	AlsoTo   string // of another one, with a listener of its own; empty: none

	// Where the master is to be found instead of To; empty: it is To. For
	// rosproxy Consul's HTTP API, for HAProxy its DNS.
	Consul, ConsulDNS string

	Header bool // each connection to a master begins with a PROXY protocol header of version 1

	// Of rosproxy alone: bytes for each buffer of a connection; 0: the kernel sizes them.
	SocketBuffer int

	// Of rosproxy alone, with Consul.
	Labels    []string // a listener for each, from a configuration file; none: one for default
	Service   string   // that has the labels
	LeaderKey string   // says who is master, by its value; empty: the service does

	User *syscall.Credential // nil: who we are
}

// Proxy is a running peer.
type Proxy struct {
	Address string   // for clients
	Also    string   // for clients of the other master
	Labels  []string // for clients of each label
	process *proc.Process
	workers int    // processes that it starts
	admin   string // path of the admin socket
}

// startPatience is how long a peer may take until it accepts connections.
const startPatience = 10 * time.Second

// Start starts a peer and returns when it accepts connections.
func Start(ctx context.Context, name string, o Options) (*Proxy, error) {
	start := map[string]func(Options, []route) (*Proxy, error){
		Rosproxy: startRosproxy, HAProxy: startHAProxy, Nginx: startNginx, Naive: startNaive, Floor: startFloor, BulkFloor: startBulkFloor,
	}[name]
	if name == Direct {
		return &Proxy{Address: o.To, Also: o.AlsoTo}, nil
	}
	if start == nil {
		return nil, fmt.Errorf("no peer is called %q", name)
	}
	routes, err := o.routes()
	if err != nil {
		return nil, err
	}
	p, err := start(o, routes)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p.Address, p.Also = routes[0].at.String(), routes[len(routes)-1].at.String()
	for _, r := range routes {
		p.Labels = append(p.Labels, r.at.String())
	}
	if err := p.awaitReady(ctx); err != nil {
		p.Stop()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// route is a listener and the master behind it.
type route struct {
	name string
	at   netip.AddrPort
	to   string
}

// routes finds an address for each listener.
func (o Options) routes() ([]route, error) {
	routes := []route{{name: "default", to: o.To}}
	if o.AlsoTo != "" {
		routes = append(routes, route{name: "also", to: o.AlsoTo})
	}
	if len(o.Labels) > 0 {
		routes = nil
		for _, name := range o.Labels {
			routes = append(routes, route{name: name})
		}
	}
	port := uint16(firstPort)
	for i := range routes {
		at, err := freeAddress(port)
		if err != nil {
			return nil, err
		}
		routes[i].at = at
		port = at.Port() + 1
	}
	return routes, nil
}

// awaitReady waits until the peer accepts connections and all its processes are there.
func (p *Proxy) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		err := p.isReady(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.process.Ended():
			return fmt.Errorf("it has ended and said: %s", p.process.Output())
		case <-ctx.Done():
			return fmt.Errorf("not ready after %v: %w; it said: %s", startPatience, err, p.process.Output())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (p *Proxy) isReady(ctx context.Context) error {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.Address)
	if err != nil {
		return err
	}
	if err := c.Close(); err != nil {
		return err
	}
	n, err := p.process.Tree()
	if err == nil && n < 1+p.workers {
		err = fmt.Errorf("%d processes of %d", n, 1+p.workers)
	}
	return err
}

// Stop kills the peer.
func (p *Proxy) Stop() {
	if p.process != nil {
		p.process.Stop()
	}
}

// IsProcess reports whether there is a proxy at all.
func (p *Proxy) IsProcess() bool { return p.process != nil }

// PID is the process id; with nginx, of the one that started the others.
func (p *Proxy) PID() int { return p.process.PID() }

// CPU is the CPU time it has used; without a proxy none.
func (p *Proxy) CPU() (time.Duration, error) {
	if p.process == nil {
		return 0, nil
	}
	return p.process.CPU()
}

// Waits is how long each of its threads has been ready to run without a CPU;
// without a proxy there is none.
func (p *Proxy) Waits() (map[int]time.Duration, error) {
	if p.process == nil {
		return nil, nil
	}
	return p.process.Waits()
}

// Memory is its resident memory in bytes.
func (p *Proxy) Memory() (int64, error) { return p.process.Memory() }

// Connections is how many TCP connections it has to an address.
func (p *Proxy) Connections(to netip.AddrPort) (int, error) { return p.process.Connections(to) }

// Descriptors is how many files it has open.
func (p *Proxy) Descriptors() (int, error) { return p.process.Descriptors() }

// firstPort is below those that the kernel gives to outgoing connections, so
// that none of them takes a port between our look and the peer's bind.
const firstPort, lastPort = 20000, 30000

// freeAddress finds a loopback address that nobody listens on.
func freeAddress(from uint16) (netip.AddrPort, error) {
	ip, err := address()
	if err != nil {
		return netip.AddrPort{}, err
	}
	for port := from; port <= lastPort; port++ {
		at := netip.AddrPortFrom(ip, port)
		l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(at))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return at, fmt.Errorf("find a free port: %w", err)
		}
		return at, l.Close()
	}
	return netip.AddrPort{}, fmt.Errorf("find a free port: none from %d to %d", firstPort, lastPort)
}

// writeConfig writes a file that other users may read.
func writeConfig(dir, name, text string) (string, error) {
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), fs.FileMode(0o644)); err != nil {
		return "", fmt.Errorf("write the configuration: %w", err)
	}
	return path, nil
}
