package listen

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/drain/handover"
	"github.com/rosproxy/rosproxy/proxy"
)

// Names of the listening sockets between a process and its successor.
const (
	forLabel   = "listen " // and the label
	Admin      = "admin"
	AgentCheck = "agent-check"
)

// Inherited are the listening sockets that the process was started with,
// until they are taken.
type Inherited struct{ sockets []handover.Socket }

// NewInherited gives the sockets of a predecessor, and those of systemd, the
// names that they have here. What cannot be told from its name stays what
// nobody wants.
func NewInherited(handedOver []handover.Socket, activated []*os.File, listeners []proxy.Listener) *Inherited {
	i := &Inherited{sockets: handedOver}
	labels := map[string]bool{}
	for _, l := range listeners {
		labels[l.Label] = true
	}
	for _, f := range activated {
		s := handover.Socket{Name: f.Name(), File: f, Shared: true}
		switch {
		case labels[s.Name]:
			s.Name = forLabel + s.Name
		case s.Name == Admin || s.Name == AgentCheck:
		case len(listeners) == 1 && isNoName(s.Name):
			s.Name = forLabel + listeners[0].Label
		}
		i.sockets = append(i.sockets, s)
	}
	return i
}

// isNoName reports whether nobody chose the name: without FileDescriptorName=
// systemd calls a socket after its unit, and without names go-systemd by number.
func isNoName(name string) bool {
	return name == "unknown" || name == "stored" || strings.HasSuffix(name, ".socket") || strings.HasPrefix(name, "LISTEN_FD_")
}

// Names are those of the sockets that nobody has taken.
func (i *Inherited) Names() []string {
	var names []string
	for _, s := range i.sockets {
		names = append(names, s.Name)
	}
	return names
}

// takeAll gives all sockets that f wants, which are then the caller's to close.
func (i *Inherited) takeAll(f func(handover.Socket) bool) (taken []handover.Socket) {
	i.sockets = slices.DeleteFunc(i.sockets, func(s handover.Socket) bool {
		if f(s) {
			taken = append(taken, s)
			return true
		}
		return false
	})
	return taken
}

// Unwanted takes out the sockets of the predecessor's that nobody has taken.
func (i *Inherited) Unwanted() []handover.Socket {
	return i.takeAll(func(s handover.Socket) bool { return !s.Shared })
}

// takeFor gives each listener the sockets that it is to use: those of its label,
// then one that another label had at its address, where the configuration says so now.
func (i *Inherited) takeFor(listeners []proxy.Listener) [][]handover.Socket {
	byName := map[string][]handover.Socket{}
	for _, s := range i.sockets {
		byName[s.Name] = append(byName[s.Name], s)
	}
	taken := make([][]handover.Socket, len(listeners))
	isTaken := map[*os.File]bool{}
	for n, l := range listeners {
		for _, s := range byName[forLabel+l.Label] {
			if s.Shared || fits(s, l.Address) {
				taken[n] = append(taken[n], s)
				isTaken[s.File] = true
			}
		}
	}
	byAddress := map[netip.AddrPort]handover.Socket{}
	for _, s := range i.sockets {
		if at, ok := boundTo(s); ok && !s.Shared && !isTaken[s.File] && strings.HasPrefix(s.Name, forLabel) {
			byAddress[at] = s
		}
	}
	for n, l := range listeners {
		at, ok := FixedAddress(l.Address)
		if s, free := byAddress[at]; ok && free && taken[n] == nil && !isTaken[s.File] {
			taken[n] = []handover.Socket{s}
			isTaken[s.File] = true
		}
	}
	i.takeAll(func(s handover.Socket) bool { return isTaken[s.File] })
	return taken
}

// OpenProxy makes the data plane, of a label's inherited sockets where there are
// some, else of all addresses that its listener's stands for.
func (i *Inherited) OpenProxy(ctx context.Context, c proxy.Config, log zerolog.Logger) (*proxy.Proxy, error) {
	var listeners []proxy.Listener
	taken := i.takeFor(c.Listeners)
	defer func() {
		for _, sockets := range taken {
			CloseAll(sockets) // the proxy has made copies
		}
	}()
	for n, l := range c.Listeners {
		for _, s := range taken[n] {
			l.File, l.Shared = s.File, s.Shared
			listeners = append(listeners, l)
		}
		if len(taken[n]) > 0 {
			continue
		}
		addresses, err := Addresses(ctx, l.Address)
		if err != nil {
			return nil, fmt.Errorf("listener %q: %w", l.Label, err)
		}
		for _, l.Address = range addresses {
			if err := i.inTheWay(l.Address); err != nil {
				return nil, fmt.Errorf("listener %q: %w", l.Label, err)
			}
			listeners = append(listeners, l)
		}
	}
	c.Listeners = listeners
	return proxy.New(c, log)
}

// Close closes the sockets that nobody has taken.
func (i *Inherited) Close() error {
	var errs []error
	for _, s := range i.sockets {
		errs = append(errs, s.File.Close())
	}
	i.sockets = nil
	return errors.Join(errs...)
}
