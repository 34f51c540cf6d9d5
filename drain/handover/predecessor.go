package handover

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Predecessor is the process that started this one to be replaced by it.
type Predecessor struct {
	PID        int
	Generation int      // of this process
	Sockets    []Socket // the caller's to close
	line       *line
}

// Inherit looks whether env says that this process is a successor: nil when it
// does not. The rest is env without that. The descriptors are not inherited by
// processes that this one starts.
func Inherit(env []string) (p *Predecessor, rest []string, err error) {
	text, found, rest := cut(env, Variable)
	if !found {
		return nil, rest, nil
	}
	l, err := parseLetter(text)
	if err != nil {
		return nil, rest, fmt.Errorf("read %s: %w", Variable, err)
	}
	for i := range len(l.Sockets) + 1 { // all, before one is touched
		if err := checkSocket(lineFD + i); err != nil {
			return nil, rest, fmt.Errorf("read %s: descriptor %d: %w", Variable, lineFD+i, err)
		}
	}
	p = &Predecessor{PID: l.PID, Generation: l.Generation}
	if p.line, err = newLine(takeFile(lineFD, "line")); err != nil {
		return nil, rest, fmt.Errorf("open the line to the predecessor: %w", err)
	}
	for i, s := range l.Sockets {
		p.Sockets = append(p.Sockets, Socket{Name: s.Name, Shared: s.Shared, File: takeFile(firstSocket+i, s.Name)})
	}
	return p, rest, nil
}

func checkSocket(fd int) error {
	_, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	return err
}

func takeFile(fd int, name string) *os.File {
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), name)
}

// Await returns nil when it is this process's turn to serve: when ready has
// returned nil and the predecessor says so, or when the predecessor has ended,
// ready or not. It returns the error of ready, ErrCalledOff when the predecessor goes
// on, and the cause of ctx's end. ready has returned by then, with its context ended.
func (p *Predecessor) Await(ctx context.Context, ready func(context.Context) error) error {
	inner, cancel := context.WithCancel(ctx)
	prepared := make(chan error, 1)
	go func() { prepared <- ready(inner) }()
	said := false
	defer func() {
		cancel()
		if !said {
			<-prepared
		}
	}()
	for {
		var preparing <-chan error
		if !said {
			preparing = prepared
		}
		select {
		case err := <-preparing:
			said = true
			if err != nil {
				return err
			}
			_ = p.line.say(wordReady) // if it has ended, the line says so
		case w, ok := <-p.line.words:
			switch {
			case !ok:
				return nil
			case w == wordCallOff:
				return ErrCalledOff
			case w == wordTakeOver && said:
				return nil
			}
			return fmt.Errorf("the predecessor said %q at the wrong time", w)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Serving tells the predecessor that this process serves, and returns when it
// has let go of the sockets, or has ended; or, with its cause, when ctx ends.
func (p *Predecessor) Serving(ctx context.Context) error {
	if err := p.line.say(wordServing); errors.Is(err, ErrGone) {
		return nil
	}
	select {
	case <-p.line.words: // released, or its end
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close hangs up.
func (p *Predecessor) Close() { p.line.close() }
