package listen

import (
	"container/list"
	"errors"
	"fmt"
	"net"
	"sync"

	"golang.org/x/sys/unix"
)

// limitListener keeps at most max connections open, and makes nobody wait: for
// one more, that which has been idle for longest is closed; where none is idle,
// that which has been busy for longest.
//
// A connection is idle until SetBusy says otherwise, so whoever connects and
// sends nothing, or half a request, is the first to go.
type limitListener struct {
	net.Listener
	max int

	mu   sync.Mutex
	idle list.List // of *conn, the one that has been so for longest at the front
	busy list.List
}

func limited(l net.Listener, most int) *limitListener { return &limitListener{Listener: l, max: most} }

// Accept waits for a connection.
func (l *limitListener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: accepted, of: l}
	if victim := l.add(c); victim != nil {
		_ = victim.Conn.Close()
	}
	return c, nil
}

// add takes c in, and gives the connection that is to go for it.
func (l *limitListener) add(c *conn) (victim *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.idle.Len()+l.busy.Len() >= l.max {
		oldest := l.idle.Front()
		if oldest == nil {
			oldest = l.busy.Front()
		}
		victim = oldest.Value.(*conn)
		victim.leave()
	}
	c.in, c.at = &l.idle, l.idle.PushBack(c)
	return victim
}

// conn is a connection of a limitListener.
type conn struct {
	net.Conn
	of *limitListener

	in *list.List // guarded by of.mu, as at; nil: it has been closed
	at *list.Element
}

// SetBusy says whether somebody works for the peer at the moment.
func (c *conn) SetBusy(busy bool) {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	if c.in == nil {
		return
	}
	c.in.Remove(c.at)
	c.in = &c.of.idle
	if busy {
		c.in = &c.of.busy
	}
	c.at = c.in.PushBack(c)
}

// leave takes c off its list; of.mu is held.
func (c *conn) leave() {
	if c.in != nil {
		c.in.Remove(c.at)
		c.in, c.at = nil, nil
	}
}

// Close closes the connection.
func (c *conn) Close() error {
	c.of.mu.Lock()
	c.leave()
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite sends FIN and goes on reading.
func (c *conn) CloseWrite() error {
	if h, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Peer says who is at the other end: its address, or for a unix socket its
// process and user.
func (c *conn) Peer() string {
	u, ok := c.Conn.(*net.UnixConn)
	if !ok {
		return c.RemoteAddr().String()
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return "unknown"
	}
	var cred *unix.Ucred
	if e := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); e != nil || err != nil {
		return "unknown"
	}
	return fmt.Sprintf("pid %d uid %d", cred.Pid, cred.Uid)
}
