package listen

import (
	"context"
	"errors"
	"fmt"
	"os"
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
func NewInherited(handedOver []handover.Socket, activated []*os.File, listeners []proxy.Listener) (*Inherited, error) {
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
	seen := map[string]bool{}
	for _, s := range i.sockets {
		if seen[s.Name] && !strings.HasPrefix(s.Name, forLabel) { // a label may have several
			return nil, errors.Join(fmt.Errorf("two sockets were given for %s", s.Name), i.Close())
		}
		seen[s.Name] = true
	}
	return i, nil
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

// take gives the socket of that name, which is then the caller's to close;
// false when there is none.
func (i *Inherited) take(name string) (handover.Socket, bool) {
	for at, s := range i.sockets {
		if s.Name == name {
			i.sockets = append(i.sockets[:at:at], i.sockets[at+1:]...)
			return s, true
		}
	}
	return handover.Socket{}, false
}

// OpenProxy makes the data plane, of a label's inherited sockets where there are
// some, else of all addresses that its listener's stands for.
func (i *Inherited) OpenProxy(ctx context.Context, c proxy.Config, log zerolog.Logger) (*proxy.Proxy, error) {
	var listeners []proxy.Listener
	for _, l := range c.Listeners {
		inherited := false
		for s, ok := i.take(forLabel + l.Label); ok; s, ok = i.take(forLabel + l.Label) {
			defer s.File.Close() // the proxy has made a copy
			inherited = true
			l.File, l.Shared = s.File, s.Shared
			listeners = append(listeners, l)
		}
		if inherited {
			continue
		}
		addresses, err := Addresses(ctx, l.Address)
		if err != nil {
			return nil, fmt.Errorf("listener %q: %w", l.Label, err)
		}
		for _, l.Address = range addresses {
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
