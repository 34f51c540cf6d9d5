package discovery

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// lookupFunc asks for the IP addresses of a host name.
type lookupFunc func(ctx context.Context, host string) ([]netip.Addr, error)

func systemLookup(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// resolveOne asks for the address of host. Of several it takes the lowest,
// IPv4 before IPv6, whatever the order they come in: every instance of a tier
// must arrive at the same master.
func resolveOne(ctx context.Context, lookup lookupFunc, host string) (netip.Addr, error) {
	addrs, err := lookup(ctx, host)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("resolve %s: %w", host, err)
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	addrs = slices.DeleteFunc(addrs, func(a netip.Addr) bool { return !a.IsValid() || a.IsUnspecified() || a.IsMulticast() })
	if len(addrs) == 0 {
		return netip.Addr{}, fmt.Errorf("resolve %s: it has no usable address", host)
	}
	return slices.MinFunc(addrs, netip.Addr.Compare), nil
}

// names keeps what the host names of one label's candidates resolved to.
//
// A name is resolved when a candidate appears or changes in the answers of an
// address, and not again while it stays: DNS that answers by turns must not
// make failovers. When that fails the old resolution stays. Safe for
// concurrent use; nobody waits for another's look-up.
type names struct {
	lookup  lookupFunc
	timeout time.Duration

	mu      sync.Mutex
	addrs   map[string]netip.Addr // the last successful look-up of each name
	settled []map[candidate]bool  // by agent: the candidates of its last answer that were looked up as they stand
}

func newNames(agents int, lookup lookupFunc, timeout time.Duration) *names {
	return &names{lookup: lookup, timeout: timeout, addrs: make(map[string]netip.Addr), settled: make([]map[candidate]bool, agents)}
}

// resolve fills in the addresses of a's candidates, within the timeout for
// all of them together, those that would win first. One whose name never
// resolved keeps an address that is not valid, and a.rejects says so.
func (n *names) resolve(ctx context.Context, a *answer) {
	if a.kind != claimed && a.kind != none {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	slices.SortFunc(a.candidates, func(x, y candidate) int { return newer(y, x) })
	settled := make(map[candidate]bool)
	for i := range a.candidates {
		c := &a.candidates[i]
		if c.host == "" {
			continue
		}
		addr, err := n.find(ctx, a.agent, *c)
		if err == nil {
			settled[*c] = true
		}
		if addr.IsValid() {
			c.addr = netip.AddrPortFrom(addr, c.port)
		} else {
			a.rejects = append(a.rejects, c.reject(err))
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.settled[a.agent] = settled
	n.forget()
}

// find answers what the name of c resolves to: what is known, while c is
// unchanged in the agent's answers; else a new look-up; else what was known,
// with the error. The address is not valid when there never was one.
func (n *names) find(ctx context.Context, agent int, c candidate) (netip.Addr, error) {
	n.mu.Lock()
	known, settled := n.addrs[c.host], n.settled[agent][c]
	n.mu.Unlock()
	if settled && known.IsValid() {
		return known, nil
	}
	addr, err := resolveOne(ctx, n.lookup, c.host)
	if err != nil {
		return known, err
	}
	n.mu.Lock()
	n.addrs[c.host] = addr
	n.mu.Unlock()
	return addr, nil
}

// maxNames bounds the resolutions that are kept of names that are gone.
const maxNames = 1024

// forget drops names that no agent's last answer holds, once there are many:
// a name that is gone for a moment keeps its resolution. mu is held.
func (n *names) forget() {
	if len(n.addrs) <= maxNames {
		return
	}
	inUse := make(map[string]bool)
	for _, settled := range n.settled {
		for c := range settled {
			inUse[c.host] = true
		}
	}
	for host := range n.addrs {
		if !inUse[host] {
			delete(n.addrs, host)
		}
	}
}
