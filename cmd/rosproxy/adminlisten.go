package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/rosproxy/rosproxy/proxy"
)

// adminConfig says where the admin endpoints are and who may use them.
type adminConfig struct {
	Network   string // tcp or unix
	Address   string // HOST:PORT or a path
	TokenFile string // empty: no token is asked for
}

// Bounds of the admin listener.
const (
	maxSocketPath = 107 // what sockaddr_un holds
	maxAdminConns = 256
)

func loadAdmin(s settings, c *Config) error {
	v, _ := s.one("admin-listen")
	network, address, local, err := parseEndpoint(v, c.Proxy.Listeners)
	if err != nil {
		return err
	}
	c.Admin.Network, c.Admin.Address = network, address
	token, ok := s.one("admin-token-file")
	if !ok {
		if !local {
			return v.fault("neither loopback nor a unix socket: needs --admin-token-file")
		}
		return nil
	}
	if _, err := readToken(token.text); err != nil {
		return token.fault("%v", err)
	}
	c.Admin.TokenFile = token.text
	return nil
}

// parseEndpoint reads HOST:PORT or unix:PATH, which no listener of the proxy
// has. It is local when nobody but this machine can connect.
func parseEndpoint(v value, taken []proxy.Listener) (network, address string, local bool, err error) {
	if path, ok := strings.CutPrefix(v.text, "unix:"); ok {
		if reason := badSocketPath(path); reason != "" {
			return "", "", false, v.fault("%s", reason)
		}
		return "unix", path, true, nil
	}
	host, port, reason := splitHostPort(v.text)
	if reason != "" {
		return "", "", false, v.fault("%s", reason)
	}
	for _, l := range taken {
		if port != 0 && l.Address == v.text {
			return "", "", false, v.fault("the address of the listener %q", l.Label)
		}
	}
	return "tcp", v.text, isLoopback(host), nil
}

func badSocketPath(path string) string {
	switch {
	case path == "":
		return "the path is empty"
	case strings.HasPrefix(path, "@"):
		return "an abstract socket has no permissions; give a path"
	case len(path) > maxSocketPath:
		return fmt.Sprintf("the path is longer than %d bytes", maxSocketPath)
	case strings.ContainsRune(path, 0):
		return "the path has a zero byte"
	}
	return ""
}

// openAdmin opens the admin listener, or takes a given one.
func openAdmin(ctx context.Context, g *given, c adminConfig) (*endpoint, error) {
	e, err := g.openEndpoint(ctx, adminSocket, c.Network, c.Address, maxAdminConns)
	if err != nil {
		return nil, err
	}
	// A given one need not be the one that the configuration was checked with.
	if t, ok := e.Addr().(*net.TCPAddr); ok && !t.IP.IsLoopback() && c.TokenFile == "" {
		return nil, errors.Join(fmt.Errorf("take over the admin socket: %v is not loopback: needs --admin-token-file", t), e.Close())
	}
	return e, nil
}

// listenLimited opens a listener that holds at most conns connections at a
// time; name is what its errors call it, mode that of a unix socket.
func listenLimited(ctx context.Context, name, network, address string, mode uint32, conns int) (*limitListener, error) {
	var lc net.ListenConfig
	if network == "unix" {
		if err := removeStaleSocket(address); err != nil {
			return nil, fmt.Errorf("listen on %s socket %s: %w", name, address, err)
		}
		lc.Control = narrowMode(mode)
	} else {
		lc.SetMultipathTCP(false)
	}
	l, err := lc.Listen(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s address %s: %w", name, address, err)
	}
	if network == "unix" {
		if err := os.Chmod(address, os.FileMode(mode)); err != nil { // a narrow umask may have taken bits away
			return nil, errors.Join(fmt.Errorf("set mode of %s socket: %w", name, err), l.Close())
		}
	}
	return limited(l, conns), nil
}

func limited(l net.Listener, conns int) *limitListener {
	return &limitListener{Listener: l, slots: make(chan struct{}, conns), closed: make(chan struct{})}
}

const socketMode = 0o660

// narrowMode gives the socket its mode before bind makes the file of it, so
// that there is no moment at which others could connect.
func narrowMode(mode uint32) func(_, _ string, raw syscall.RawConn) error {
	return func(_, _ string, raw syscall.RawConn) error {
		var err error
		if e := raw.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), mode) }); e != nil {
			return e
		}
		return err
	}
}

// removeStaleSocket removes a socket that nobody listens on: what a process
// that was killed left behind.
func removeStaleSocket(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("the file is there and is no socket")
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		return errors.Join(errors.New("in use by another process"), c.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}

// limitListener accepts no further connection while cap(slots) are open.
type limitListener struct {
	net.Listener
	slots  chan struct{}
	once   sync.Once
	closed chan struct{}
}

// Accept waits for a slot, then for a connection.
func (l *limitListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitConn{Conn: c, release: sync.OnceFunc(func() { <-l.slots })}, nil
}

// Close closes the listener; a unix socket is removed.
func (l *limitListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type limitConn struct {
	net.Conn
	release func()
}

func (c *limitConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}
