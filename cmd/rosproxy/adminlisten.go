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
	local := true
	if path, ok := strings.CutPrefix(v.text, "unix:"); ok {
		c.Admin.Network, c.Admin.Address = "unix", path
		if reason := badSocketPath(path); reason != "" {
			return v.fault("%s", reason)
		}
	} else {
		host, port, reason := splitHostPort(v.text)
		if reason != "" {
			return v.fault("%s", reason)
		}
		for _, l := range c.Proxy.Listeners {
			if port != 0 && l.Address == v.text {
				return v.fault("the address of the listener %q", l.Label)
			}
		}
		c.Admin.Network, c.Admin.Address = "tcp", v.text
		local = isLoopback(host)
	}
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

// listenAdmin opens the admin listener, which holds at most maxAdminConns
// connections at a time.
func listenAdmin(ctx context.Context, c adminConfig) (net.Listener, error) {
	var lc net.ListenConfig
	if c.Network == "unix" {
		if err := removeStaleSocket(c.Address); err != nil {
			return nil, fmt.Errorf("listen on admin socket %s: %w", c.Address, err)
		}
		lc.Control = narrowMode
	} else {
		lc.SetMultipathTCP(false)
	}
	l, err := lc.Listen(ctx, c.Network, c.Address)
	if err != nil {
		return nil, fmt.Errorf("listen on admin address %s: %w", c.Address, err)
	}
	if c.Network == "unix" {
		if err := os.Chmod(c.Address, socketMode); err != nil { // a narrow umask may have taken bits away
			return nil, errors.Join(fmt.Errorf("set mode of admin socket: %w", err), l.Close())
		}
	}
	return &limitListener{Listener: l, slots: make(chan struct{}, maxAdminConns), closed: make(chan struct{})}, nil
}

const socketMode = 0o660

// narrowMode gives the socket its mode before bind makes the file of it, so
// that there is no moment at which others could connect.
func narrowMode(_, _ string, raw syscall.RawConn) error {
	var err error
	if e := raw.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), socketMode) }); e != nil {
		return e
	}
	return err
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
