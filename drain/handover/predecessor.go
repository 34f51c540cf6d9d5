package handover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Predecessor is the process that started this one to be replaced by it, and
// those that came before and still live.
type Predecessor struct {
	PID        int
	Generation int      // of this process
	Sockets    []Socket // the caller's to close

	conn           *conn
	takesQuestions bool // it does

	asking sync.Mutex // held over a question
	asked  uint32     // the number of the last question

	process int // a pidfd of the predecessor; below zero: there is none

	mu        sync.Mutex
	ancestors []*ancestor // earlier generations, the youngest first
	isClosed  bool
}

// Await returns nil when this process is to serve: when ready has
// returned nil and the predecessor says so, or when the predecessor has ended,
// ready or not. It returns the error of ready, ErrCalledOff when the predecessor goes
// on, and the cause of ctx's end. ready has returned by then, with its context ended.
func (p *Predecessor) Await(ctx context.Context, ready func(context.Context) error) error {
	inner, cancel := context.WithCancel(ctx)
	prepared := make(chan error, 1)
	go func() { prepared <- ready(inner) }()
	isReady := false
	defer func() {
		cancel()
		if !isReady {
			<-prepared
		}
	}()
	for {
		var preparing <-chan error
		if !isReady {
			preparing = prepared
		}
		select {
		case err := <-preparing:
			isReady = true
			if err != nil {
				return err
			}
			_ = p.conn.send(messageReady) // when it has ended, the connection says so
		case m, ok := <-p.conn.messages:
			switch {
			case !ok:
				return nil
			case m == messageCallOff:
				return ErrCalledOff
			case m == messageTakeOver && isReady:
				return nil
			}
			return fmt.Errorf("the predecessor said %q at the wrong time", m)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Serving tells the predecessor that this process serves, and returns nil when
// this process alone accepts from the sockets: the predecessor has stopped, or
// has ended. It returns ErrCalledOff when the predecessor goes on instead,
// net.ErrClosed after Ending or Close, and the cause of ctx's end.
func (p *Predecessor) Serving(ctx context.Context) error {
	if p.hasClosed() {
		return net.ErrClosed
	}
	if err := p.conn.send(messageServing); errors.Is(err, ErrGone) {
		return nil
	}
	select {
	case m, ok := <-p.conn.messages:
		switch {
		case !ok && p.hasClosed():
			return net.ErrClosed
		case !ok || m == messageReleased:
			return nil
		case m == messageCallOff:
			return ErrCalledOff
		}
		return fmt.Errorf("the predecessor said %q at the wrong time", m)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Failed tells the predecessor why this process ends, and reports whether it
// could. It is only for before Await: a program of before would take the
// letters of the reason for messages.
func (p *Predecessor) Failed(reason string) bool {
	if p == nil || p.hasClosed() {
		return false
	}
	text := append([]byte{messageFailed}, reason[:min(len(reason), maxReason)]...)
	if err := p.conn.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return false
	}
	_, err := p.conn.Write(text)
	return err == nil
}

// HandedOver tells the generations of before that the sockets have gone on to a
// successor of this process, with the connections to them: the end of this
// process tells them nothing then. Without a Predecessor it does nothing, as
// Ending and Close.
func (p *Predecessor) HandedOver() { p.send(messageHandedOver) }

// Ending tells the generations of before that still live that whoever serves
// ends in good order, so that none of them takes its place, and closes the
// connections to them. After Close it does nothing.
func (p *Predecessor) Ending() {
	p.send(messageEnding)
	p.Close()
}

// Close closes the connections to the generations of before without a word: for
// them this process is dead, unless a successor of its own keeps them.
func (p *Predecessor) Close() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isClosed {
		return
	}
	p.isClosed = true
	p.conn.close()
	if p.process >= 0 {
		_ = unix.Close(p.process)
	}
	for _, a := range p.ancestors {
		if a.reading != nil {
			a.reading.close()
			continue
		}
		_ = a.Close()
	}
}

func (p *Predecessor) hasClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.isClosed
}

// send says message to every generation of before.
func (p *Predecessor) send(message byte) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isClosed {
		return
	}
	for _, c := range p.all() {
		_ = send(c, message) // when that has ended, there is nobody to tell
	}
}

// Unheard reports whether the predecessor lives and has closed the connection:
// nothing is known of its clients then.
func (p *Predecessor) Unheard() bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.isClosed && p.process >= 0 && isRunning(p.process) && !isAlive(p.conn.Conn)
}

// isRunning reports whether the process of a pidfd has not ended.
func isRunning(pidfd int) bool {
	poll := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(poll, 0)
		if err != unix.EINTR {
			return err == nil && n == 0
		}
	}
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}
