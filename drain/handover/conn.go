package handover

import (
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// What the two processes say to each other, a byte each.
const (
	// From the predecessor.
	messageTakeOver = 't'
	messageReleased = 'd'
	messageCallOff  = 'x'
	messageCarry    = 'c' // a frame: what the successor is to know before it serves
	messageAnswer   = 'a' // a frame: to a question
	// From the successor.
	messageReady      = 'r'
	messageServing    = 's'
	messageHandedOver = 'h' // to a successor of its own, which keeps the connection
	messageEnding     = 'e'
	messageFailed     = 'f' // and why, until the connection ends
	messageAsk        = 'q' // a frame: a question to the predecessor, which says that it takes them (manifest.Asks)
)

// maxReason bounds what a successor says of its failure.
const maxReason = 4 << 10

// sendTimeout bounds a message: one byte into a socket that nobody reads does not block before thousands.
const sendTimeout = time.Second

// conn is one end of what connects the two processes. Its goroutine reads
// until close, or the end of the other process.
type conn struct {
	net.Conn
	messages chan byte // closed at the end of the other process
	reason   string    // of its failure; empty: it has not said. Set before messages is closed
	closed   chan struct{}
	ended    chan struct{} // closed when nothing more is read
	once     sync.Once

	answer  func(question []byte) []byte // nil: questions are not answered
	answers chan frame                   // holds one
	carried atomic.Pointer[[]byte]       // the last frame of messageCarry
}

// newConn makes a conn of one end of a socket pair, which it closes. Questions of
// the other process are answered by answer; nil: by nobody.
func newConn(f *os.File, answer func([]byte) []byte) (*conn, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return readConn(c, answer), nil
}

// readConn makes a conn of c.
func readConn(c net.Conn, answer func([]byte) []byte) *conn {
	n := &conn{Conn: c, messages: make(chan byte), closed: make(chan struct{}), ended: make(chan struct{}), answer: answer, answers: make(chan frame, 1)}
	go n.read()
	return n
}

func (c *conn) read() {
	defer close(c.messages)
	defer close(c.ended)
	var b [1]byte
	for {
		if _, err := io.ReadFull(c.Conn, b[:]); err != nil {
			return
		}
		if b[0] == messageFailed {
			reason, _ := io.ReadAll(io.LimitReader(c.Conn, maxReason)) // what has come counts
			c.reason = string(reason)
			return
		}
		if isFrame(b[0]) {
			if c.readFrame(b[0]) != nil {
				return
			}
			continue
		}
		select {
		case c.messages <- b[0]:
		case <-c.closed:
			return
		}
	}
}

// send tells the other process; ErrGone when it has ended.
func (c *conn) send(message byte) error { return send(c.Conn, message) }

func send(c net.Conn, message byte) error {
	if err := c.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return ErrGone
	}
	if _, err := c.Write([]byte{message}); err != nil {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	return nil
}

// gone is the error of a connection that has ended. It is ErrGone.
func (c *conn) gone() error {
	if c.reason == "" {
		return ErrGone
	}
	return failure(c.reason)
}

// failure is why the other process has failed, in its own words.
type failure string

func (f failure) Error() string { return "it failed: " + string(f) }

func (f failure) Is(target error) bool { return target == ErrGone }

func (c *conn) close() {
	c.once.Do(func() {
		close(c.closed)
		_ = c.Conn.Close()
		for range c.messages { // until its goroutine has ended
		}
	})
}

// isAlive reports whether the other end of c is open still.
func isAlive(c net.Conn) bool {
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return false
	}
	poll := []unix.PollFd{{}}
	if err := raw.Control(func(fd uintptr) {
		poll[0].Fd = int32(fd)
		for { // it does not block: a signal is all that can interrupt it
			if _, err := unix.Poll(poll, 0); err != unix.EINTR {
				return
			}
		}
	}); err != nil {
		return false
	}
	return poll[0].Revents&unix.POLLHUP == 0
}

// Duplicate gives a copy of c's descriptor, of that name, for a child. Not by
// File: os/exec would set what that gives to blocking, and c with it.
func Duplicate(c syscall.Conn, name string) (f *os.File, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	if e := raw.Control(func(of uintptr) { fd, err = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0) }); e != nil {
		return nil, e
	}
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// pair makes the two ends of a connection.
func pair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), "handover"), os.NewFile(uintptr(fds[1]), "handover"), nil
}
