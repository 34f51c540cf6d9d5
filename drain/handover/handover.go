// Package handover replaces a process by its successor: a new program, started
// by the old one, that is given the same listening sockets.
//
// The two agree, over a line between them, on who serves:
//
//	successor                        predecessor
//	  prepares itself, serves nothing
//	  ready            ->
//	                   <-              take over   (from here on it is not ended any more)
//	  serves
//	  serving          ->
//	                                   lets go of the sockets
//	                   <-              released
//
// At every moment at least one of them serves. A successor that ends, or says
// nothing in time, before it was told to take over has served nobody: it is
// ended, and nothing has happened. A predecessor that ends before it said so
// leaves the sockets to the successor, which takes over on its own.
//
// The package knows nothing of what is served.
package handover

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Errors that callers may look for.
var (
	ErrGone      = errors.New("the other process closed the line") // it has ended, or is about to
	ErrCalledOff = errors.New("the predecessor called it off")
)

// Variable names the environment variable that tells a process that it is a successor.
const Variable = "ROSPROXY_HANDOVER"

// Socket is a socket that is handed over.
type Socket struct {
	Name string
	File *os.File
	// Shared: somebody besides the two processes keeps the socket, and what
	// belongs to it (its path, its queue), as systemd does.
	Shared bool
}

// letter is what the Variable says. The sockets are the descriptors from
// firstSocket on, in this order.
type letter struct {
	Protocol   int            `json:"protocol"`
	PID        int            `json:"pid"`        // of the predecessor
	Generation int            `json:"generation"` // of the successor
	Sockets    []letterSocket `json:"sockets"`
}

type letterSocket struct {
	Name   string `json:"name"`
	Shared bool   `json:"shared,omitempty"`
}

const (
	protocol    = 1
	lineFD      = 3 // after stdin, stdout and stderr
	firstSocket = lineFD + 1
	mostSockets = 1024
	mostLetter  = 100 << 10 // the kernel takes 128 KiB a variable (MAX_ARG_STRLEN)
)

// What the two say to each other, a byte each.
const (
	wordReady    = 'r'
	wordTakeOver = 't'
	wordServing  = 's'
	wordReleased = 'd'
	wordCallOff  = 'x'
)

func (l letter) String() string {
	b, _ := json.Marshal(l) // text and numbers: it cannot fail
	return string(b)
}

// parseLetter reads what the Variable says.
func parseLetter(text string) (letter, error) {
	var l letter
	if len(text) > mostLetter {
		return l, fmt.Errorf("%d bytes are too many", len(text))
	}
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		return l, err
	}
	switch {
	case l.Protocol != protocol:
		return l, fmt.Errorf("protocol %d; this program knows %d", l.Protocol, protocol)
	case l.PID <= 0:
		return l, fmt.Errorf("pid %d is none", l.PID)
	case l.Generation < 2:
		return l, fmt.Errorf("generation %d has no predecessor", l.Generation)
	case len(l.Sockets) > mostSockets:
		return l, fmt.Errorf("%d sockets are too many", len(l.Sockets))
	}
	return l, nil
}

// cut takes the variable called name out of env.
func cut(env []string, name string) (value string, found bool, rest []string) {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			value, found = v, true
			continue
		}
		rest = append(rest, e)
	}
	return value, found, rest
}

// sayTimeout bounds a word: one byte into a socket that nobody reads does not block before thousands.
const sayTimeout = time.Second

// line is one end of what connects the two processes. Its goroutine reads
// until close, or the end of the other process.
type line struct {
	conn   net.Conn
	words  chan byte // closed at the end of the other process
	closed chan struct{}
	once   sync.Once
}

// newLine makes a line of one end of a socket pair, which it closes.
func newLine(f *os.File) (*line, error) {
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	l := &line{conn: conn, words: make(chan byte), closed: make(chan struct{})}
	go l.listen()
	return l, nil
}

func (l *line) listen() {
	defer close(l.words)
	var b [1]byte
	for {
		if _, err := io.ReadFull(l.conn, b[:]); err != nil {
			return
		}
		select {
		case l.words <- b[0]:
		case <-l.closed:
			return
		}
	}
}

// say tells the other process; ErrGone when it has ended.
func (l *line) say(word byte) error {
	if err := l.conn.SetWriteDeadline(time.Now().Add(sayTimeout)); err != nil {
		return ErrGone
	}
	if _, err := l.conn.Write([]byte{word}); err != nil {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	return nil
}

func (l *line) close() {
	l.once.Do(func() {
		close(l.closed)
		_ = l.conn.Close()
		for range l.words { // until its goroutine has ended
		}
	})
}

// pair makes the two ends of a line.
func pair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), "line"), os.NewFile(uintptr(fds[1]), "line"), nil
}
