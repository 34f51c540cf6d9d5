package check

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/listen"
	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/proxy"
)

// masters are the addresses of all that claim to be master, each once a label.
type masters []master

type master struct {
	label   string
	address string // HOST:PORT
}

// dialsAtATime bounds what a check asks of the machine.
const dialsAtATime = 16

func (m *masters) add(label, address string) {
	if one := (master{label, address}); !slices.Contains(*m, one) {
		*m = append(*m, one)
	}
}

func (m *masters) addAll(labels []discovery.LabelCheck) {
	for _, l := range labels {
		for _, claim := range l.Masters {
			if claim.Address.IsValid() { // else it has been said
				m.add(l.Label, claim.Address.String())
			}
		}
	}
}

// check dials each of them, as a run does for a client.
func (m masters) check(ctx context.Context, r *report, c config.Config) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	bound := boundOf(ctx, c.Proxy.Listeners)
	timeouts := map[string]time.Duration{}
	for _, l := range c.Proxy.Listeners {
		timeouts[l.Label] = c.SettingsOf(l).ConnectTimeout
	}
	faults := make([]error, len(m))
	var dials errgroup.Group
	dials.SetLimit(dialsAtATime)
	for i, one := range m {
		dials.Go(func() error {
			faults[i] = reach(ctx, one.address, bound, timeouts[one.label])
			return nil
		})
	}
	_ = dials.Wait() // the errors are in faults
	for i, one := range m {
		if faults[i] != nil {
			r.fail("master of %s at %s: %v", one.label, one.address, faults[i])
		} else {
			r.ok("master of %s at %s: accepts connections", one.label, one.address)
		}
	}
}

var errLoop = errors.New("it is one of our own listeners: a client would be connected to itself until no connection is left")

// reach connects to address, unless that is one of our own listeners.
func reach(ctx context.Context, address string, bound []netip.AddrPort, timeout time.Duration) error {
	ips, port, err := listen.Resolve(ctx, address)
	if err != nil {
		return err
	}
	for _, ip := range ips {
		at := netip.AddrPortFrom(ip, port)
		if slices.ContainsFunc(bound, func(b netip.AddrPort) bool { return proxy.LeadsTo(at, b) }) {
			return errLoop
		}
	}
	d := net.Dialer{Timeout: timeout}
	conn, err := d.DialContext(ctx, "tcp", address)
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err // without the address, which is said
	}
	if err != nil {
		return err
	}
	return conn.Close()
}

// boundOf are the addresses that the listeners will be bound to. What cannot
// be told has been said.
func boundOf(ctx context.Context, listeners []proxy.Listener) []netip.AddrPort {
	var bound []netip.AddrPort
	for _, l := range listeners {
		all, err := listen.Addresses(ctx, l.Address)
		if err != nil {
			continue
		}
		for _, at := range all {
			if host, port, reason := config.SplitHostPort(at); reason == "" && host == "" {
				bound = append(bound, netip.AddrPortFrom(netip.IPv6Unspecified(), port))
			} else if at, err := netip.ParseAddrPort(at); err == nil {
				bound = append(bound, at)
			}
		}
	}
	return bound
}
