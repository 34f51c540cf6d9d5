package listen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/drain/handover"
	"github.com/rosproxy/rosproxy/proxy"
)

// Endpoint is a listening socket of the program itself, of which a successor is given a copy.
type Endpoint struct {
	*limitListener
	name   string
	shared bool // systemd keeps it, too
}

// Open uses the inherited sockets called name; without one it opens all addresses
// that address stands for. At most conns of their connections together are open
// at a time.
func (i *Inherited) Open(ctx context.Context, name, network, address string, conns int) (opened []*Endpoint, err error) {
	defer func() {
		if err != nil {
			for _, e := range opened {
				err = errors.Join(err, e.Close())
			}
			opened = nil
		}
	}()
	p := &pool{max: conns}
	given := i.takeAll(func(s handover.Socket) bool {
		return s.Name == name && (s.Shared || fitsEndpoint(s, network, address))
	})
	defer CloseAll(given)
	for _, s := range given {
		e, err := adopt(s, p)
		if err != nil {
			return opened, err
		}
		opened = append(opened, e)
	}
	if len(given) > 0 {
		return opened, nil
	}
	all := []string{address}
	if network == "tcp" {
		if all, err = Addresses(ctx, address); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, at := range all {
		if err := i.inTheWay(at); err != nil {
			return opened, fmt.Errorf("%s: %w", name, err)
		}
		l, err := open(ctx, name, network, at, socketMode, p)
		if err != nil {
			return opened, err
		}
		opened = append(opened, &Endpoint{limitListener: l, name: name})
	}
	return opened, nil
}

// adopt makes an endpoint of a copy of a socket.
func adopt(s handover.Socket, p *pool) (*Endpoint, error) {
	l, err := net.FileListener(s.File)
	if err == nil {
		err = checkStream(l)
	}
	if err != nil {
		return nil, fmt.Errorf("take over the %s socket: %w", s.Name, err)
	}
	return &Endpoint{limitListener: limited(l, p), name: s.Name, shared: s.Shared}, nil
}

// Reopen makes an endpoint like e of a copy of its socket, which it closes.
func (e *Endpoint) Reopen(s handover.Socket) (*Endpoint, error) {
	defer s.File.Close()
	return adopt(s, e.pool)
}

// Name is Admin or AgentCheck.
func (e *Endpoint) Name() string { return e.name }

// IsLocal reports whether nobody but this machine can connect.
func (e *Endpoint) IsLocal() bool {
	t, ok := e.Addr().(*net.TCPAddr)
	return !ok || t.IP.IsLoopback()
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

// Duplicate gives a copy of the socket for a successor, to be closed by the caller.
func (e *Endpoint) Duplicate() (handover.Socket, error) {
	l, ok := e.Listener.(syscall.Conn)
	if !ok {
		return handover.Socket{}, fmt.Errorf("copy the %s socket: a %T has no descriptor", e.name, e.Listener)
	}
	f, err := handover.Duplicate(l, e.name)
	if err != nil {
		return handover.Socket{}, fmt.Errorf("copy the %s socket: %w", e.name, err)
	}
	return handover.Socket{Name: e.name, File: f, Shared: e.shared}, nil
}

// KeepPath sets whether the close of a unix socket leaves its path: to the
// process that serves there now.
func (e *Endpoint) KeepPath(keep bool) {
	if u, ok := e.Listener.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(!keep && !e.shared)
	}
}

// Copies gives copies of the proxy's listening sockets, with the names by which
// a successor finds them. They are the caller's to close.
func Copies(p *proxy.Proxy) (sockets []handover.Socket, err error) {
	files, err := p.ListenerFiles()
	if err != nil {
		return nil, err
	}
	for i, l := range p.Listeners() {
		sockets = append(sockets, handover.Socket{Name: forLabel + l.Label, File: files[i], Shared: l.Shared})
	}
	return sockets, nil
}

// CloseAll closes copies.
func CloseAll(copies []handover.Socket) {
	for _, s := range copies {
		_ = s.File.Close()
	}
}
