package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/drain/handover"
	"github.com/rosproxy/rosproxy/proxy"
)

// Names of the listening sockets between a process and its successor.
const (
	listenSocket = "listen " // and the label
	adminSocket  = "admin"
	agentSocket  = "agent-check"
)

// inheritance is what the process was started with beside its arguments. Its
// zero value is nothing.
type inheritance struct {
	predecessor *handover.Predecessor // nil: none
	activated   []*os.File            // by systemd; the files have its names for them
}

// generation is 1 for a process that no other handed over to.
func (i inheritance) generation() int {
	if i.predecessor == nil {
		return 1
	}
	return i.predecessor.Generation
}

// given are the listening sockets that the process was started with, until
// they are taken.
type given struct{ sockets []handover.Socket }

// newGiven gives the sockets the names that they have here. What cannot be
// told from its name stays what nobody wants.
func newGiven(i inheritance, listeners []proxy.Listener) (*given, error) {
	g := &given{}
	if i.predecessor != nil {
		g.sockets = i.predecessor.Sockets
	}
	labels := map[string]bool{}
	for _, l := range listeners {
		labels[l.Label] = true
	}
	for _, f := range i.activated {
		s := handover.Socket{Name: f.Name(), File: f, Shared: true}
		switch {
		case labels[s.Name]:
			s.Name = listenSocket + s.Name
		case s.Name == adminSocket || s.Name == agentSocket:
		case len(listeners) == 1 && isNoName(s.Name):
			s.Name = listenSocket + listeners[0].Label
		}
		g.sockets = append(g.sockets, s)
	}
	seen := map[string]bool{}
	for _, s := range g.sockets {
		if seen[s.Name] {
			return nil, errors.Join(fmt.Errorf("two sockets were given for %s", s.Name), g.close())
		}
		seen[s.Name] = true
	}
	return g, nil
}

// isNoName tells whether nobody chose the name: without FileDescriptorName=
// systemd calls a socket after its unit, and without names go-systemd by number.
func isNoName(name string) bool {
	return name == "unknown" || name == "stored" || strings.HasSuffix(name, ".socket") || strings.HasPrefix(name, "LISTEN_FD_")
}

// take gives the socket of that name, which is then the caller's to close;
// false when there is none.
func (g *given) take(name string) (handover.Socket, bool) {
	for i, s := range g.sockets {
		if s.Name == name {
			g.sockets = append(g.sockets[:i:i], g.sockets[i+1:]...)
			return s, true
		}
	}
	return handover.Socket{}, false
}

// openProxy makes the data plane, of given sockets where there are some.
func (g *given) openProxy(c proxy.Config, log zerolog.Logger) (*proxy.Proxy, error) {
	listeners := make([]proxy.Listener, len(c.Listeners))
	for i, l := range c.Listeners {
		if s, ok := g.take(listenSocket + l.Label); ok {
			l.File, l.Shared = s.File, s.Shared
			defer s.File.Close() // the proxy has made a copy
		}
		listeners[i] = l
	}
	c.Listeners = listeners
	return proxy.New(c, log)
}

// close closes the sockets that nobody wanted.
func (g *given) close() error {
	var errs []error
	for _, s := range g.sockets {
		errs = append(errs, s.File.Close())
	}
	g.sockets = nil
	return errors.Join(errs...)
}

// endpoint is a listening socket of the program, which a successor is given.
type endpoint struct {
	*limitListener
	name   string
	shared bool // systemd keeps it, too
}

// openEndpoint uses the given socket called name; without one it opens one.
func (g *given) openEndpoint(ctx context.Context, name, network, address string, conns int) (*endpoint, error) {
	s, ok := g.take(name)
	if !ok {
		l, err := listenLimited(ctx, name, network, address, socketMode, conns)
		if err != nil {
			return nil, err
		}
		return &endpoint{limitListener: l, name: name}, nil
	}
	defer s.File.Close() // FileListener makes a copy
	l, err := net.FileListener(s.File)
	if err == nil {
		err = checkStream(l)
	}
	if err != nil {
		return nil, fmt.Errorf("take over the %s socket: %w", name, err)
	}
	return &endpoint{limitListener: limited(l, conns), name: name, shared: s.Shared}, nil
}

// checkStream wants a listening TCP or unix stream socket, and closes l when it is none.
func checkStream(l net.Listener) error {
	var err error
	switch l := l.(type) {
	case *net.TCPListener, *net.UnixListener:
		if listening, e := socketOption(l, unix.SO_ACCEPTCONN); e != nil {
			err = e
		} else if listening == 0 {
			err = errors.New("it does not listen")
		} else if kind, e := socketOption(l, unix.SO_TYPE); e != nil || kind != unix.SOCK_STREAM {
			err = errors.New("it is no stream socket")
		}
	default:
		err = fmt.Errorf("a %T is neither TCP nor unix", l)
	}
	if err != nil {
		return errors.Join(err, l.Close())
	}
	return nil
}

func socketOption(l net.Listener, option int) (value int, err error) {
	e := control(l, func(fd uintptr) { value, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, option) })
	return value, errors.Join(e, err)
}

// control calls f with the descriptor of l.
func control(l net.Listener, f func(fd uintptr)) error {
	s, ok := l.(syscall.Conn)
	if !ok {
		return fmt.Errorf("a %T has no descriptor", l)
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(f)
}

// copy gives a copy of the socket for a successor, to be closed by the caller.
// Not by File, whose descriptor os/exec would set to blocking, for us too.
func (e *endpoint) copy() (s handover.Socket, err error) {
	var fd int
	c := control(e.Listener, func(of uintptr) { fd, err = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0) })
	if err := errors.Join(c, err); err != nil {
		return s, fmt.Errorf("copy the %s socket: %w", e.name, err)
	}
	return handover.Socket{Name: e.name, File: os.NewFile(uintptr(fd), e.name), Shared: e.shared}, nil
}

// keepPath says whether the close of a unix socket leaves its path: to the
// process that serves there now.
func (e *endpoint) keepPath(keep bool) {
	if u, ok := e.Listener.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(!keep && !e.shared)
	}
}
