package listen

import (
	"container/list"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// pool are the open connections of some listeners. There are at most max, and
// nobody waits: for one more, that which has been idle for longest is closed;
// where none is idle, that which has been busy for longest.
//
// A connection is idle until SetBusy says otherwise, so whoever connects and
// sends nothing, or half a request, is the first to go.
type pool struct {
	max int

	mu   sync.Mutex
	idle list.List // of *conn, the one that has been so for longest at the front
	busy list.List
}

// limitListener is a listener whose connections are a pool's.
type limitListener struct {
	net.Listener
	pool   *pool
	once   sync.Once
	closed chan struct{}
}

func limited(l net.Listener, p *pool) *limitListener {
	return &limitListener{Listener: l, pool: p, closed: make(chan struct{})}
}

// Accept waits for a connection. An error is the end: a shortage of
// descriptors or memory is waited out.
func (l *limitListener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	for isShortage(err) {
		select {
		case <-time.After(shortageRetry):
			accepted, err = l.Listener.Accept()
		case <-l.closed:
			return nil, net.ErrClosed
		}
	}
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: accepted, of: l.pool}
	if victim := l.pool.add(c); victim != nil {
		_ = victim.Conn.Close()
	}
	return c, nil
}

// shortageRetry is how long accepting rests in a shortage.
const shortageRetry = 100 * time.Millisecond

// isShortage reports whether err is of those of accept(2) that pass, a
// connection that was in error before it was accepted among them.
func isShortage(err error) bool {
	return slices.ContainsFunc([]error{
		unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.ECONNABORTED, unix.EPROTO, unix.ENETDOWN, unix.EHOSTDOWN,
		unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENONET, unix.ENOPROTOOPT, unix.EOPNOTSUPP, unix.EINTR, unix.EPERM,
	}, func(passes error) bool { return errors.Is(err, passes) })
}

// Close closes the listener; a unix socket is removed.
func (l *limitListener) Close() error {
	err := l.Listener.Close()
	l.once.Do(func() { close(l.closed) })
	return err
}

// Closed is closed when nothing is accepted any more.
func (l *limitListener) Closed() <-chan struct{} { return l.closed }

// add takes c in, and gives the connection that is to go for it.
func (p *pool) add(c *conn) (victim *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.idle.Len()+p.busy.Len() >= p.max {
		oldest := p.idle.Front()
		if oldest == nil {
			oldest = p.busy.Front()
		}
		victim = oldest.Value.(*conn)
		victim.remove()
	}
	c.in, c.at = &p.idle, p.idle.PushBack(c)
	return victim
}

// conn is a connection of a limitListener.
type conn struct {
	net.Conn
	of *pool

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

// remove takes c off its list; of.mu is held.
func (c *conn) remove() {
	if c.in != nil {
		c.in.Remove(c.at)
		c.in, c.at = nil, nil
	}
}

// Close closes the connection.
func (c *conn) Close() error {
	c.of.mu.Lock()
	c.remove()
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
