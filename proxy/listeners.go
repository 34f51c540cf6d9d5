package proxy

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// listeners are the sockets that clients connect to. The shards have them in
// their epolls; they are opened and closed here alone.
type listeners struct {
	options sock.Options

	mu      sync.Mutex        // held over a whole StopAccepting or AcceptAgain
	sockets []listeningSocket // as configured
	open    atomic.Bool

	released bool // guarded by mu: another process has taken the sockets over
}

type listeningSocket struct {
	Listener
	label *label
	fd    int // sock.NoFD: closed
	bound netip.AddrPort
}

// openAll opens every listener.
func (l *listeners) openAll(ctx context.Context) error {
	for i := range l.sockets {
		s := &l.sockets[i]
		var err error
		if s.fd, s.bound, err = s.open(ctx, l.options); err != nil { // bound is written once: readers need no lock
			l.closeAll()
			return fmt.Errorf("listener %q: %w", s.Label, err)
		}
	}
	l.open.Store(true)
	return nil
}

func (s *listeningSocket) open(ctx context.Context, o sock.Options) (fd int, bound netip.AddrPort, err error) {
	if s.File != nil {
		return sock.Adopt(s.File, o)
	}
	return sock.Listen(ctx, s.Address, o)
}

// stopAll closes the ports of the listeners, for every process that has the
// sockets: one that drains keeps copies, and would go on filling a queue of
// which nobody takes. Those that another process keeps as well stay: a
// startAll would not get them back.
func (l *listeners) stopAll() {
	l.open.Store(false)
	for _, fd := range l.own() {
		sock.StopListening(fd)
	}
}

// startAll undoes stopAll. The sockets are the same, in every process that has them.
func (l *listeners) startAll() error {
	for _, s := range l.sockets {
		if s.Shared {
			continue
		}
		if err := sock.StartListening(s.fd, s.bound); err != nil {
			l.stopAll()
			return fmt.Errorf("listener %q: listen on %q: %w", s.Label, s.bound, err)
		}
	}
	l.open.Store(true)
	return nil
}

// restartStopped opens the ports again that another process has closed, unless
// it has closed all that were its to close.
func (l *listeners) restartStopped() error {
	var stopped []*listeningSocket
	var why error
	listening := false
	for i := range l.sockets {
		s := &l.sockets[i]
		switch err := sock.CheckListening(s.fd); {
		case err == nil:
			listening = listening || !s.Shared
		case s.Shared:
			return fmt.Errorf("reclaim the listener %q: %w", s.Label, err)
		default:
			stopped, why = append(stopped, s), fmt.Errorf("reclaim the listener %q: %w", s.Label, err)
		}
	}
	if !listening && why != nil {
		return why
	}
	for _, s := range stopped {
		if err := sock.StartListening(s.fd, s.bound); err != nil {
			return fmt.Errorf("reclaim the listener %q: listen on %q: %w", s.Label, s.bound, err)
		}
	}
	return nil
}

func (s *listeningSocket) close() {
	if s.fd != sock.NoFD {
		sock.Close(s.fd)
		s.fd = sock.NoFD
	}
}

// closeAll gives back every descriptor.
func (l *listeners) closeAll() {
	l.open.Store(false)
	for i := range l.sockets {
		l.sockets[i].close()
	}
}

// own are the sockets that no other process keeps.
func (l *listeners) own() []int {
	var own []int
	for _, s := range l.sockets {
		if s.fd != sock.NoFD && !s.Shared {
			own = append(own, s.fd)
		}
	}
	return own
}
