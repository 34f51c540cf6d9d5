// Package client is the commands that ask running instances, or tell them what
// to do, over their admin endpoints; and await-fence and datacenter, which ask Consul
// about them.
//
// A command is a function of the table below and a grammar in package config. It
// is given a session: the instances that were named, what is printed on, and
// where it says which instance did not do what it should. Nothing that an
// instance answers is trusted: answers are bounded in length and time, and
// nothing of them reaches a terminal unless it prints.
package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
)

// What a command exits with.
const (
	exitDone    = 0
	exitNotDone = 1
	exitUsage   = 2
)

// command does its work and answers the exit code. Its context ends with the
// process; signals are its own affair.
type command func(context.Context, *session) int

var commands = map[config.Command]command{
	config.Status:      interruptible(showStatus),
	config.Connections: interruptible(listConnections),
	config.Drain:       interruptible(startDrain),
	config.Undrain:     interruptible(undoDrain),
	config.Pause:       pauseLabel,
	config.Resume:      interruptible(resumeLabel),
	config.AwaitFence:  interruptible(awaitFence),
	config.Datacenter:  interruptible(datacenters),
}

// Has reports whether c is a command of this package.
func Has(c config.Command) bool { return commands[c] != nil }

// Process is what a command has of its process.
type Process struct {
	Stdout, Stderr io.Writer
	Env            []string         // NAME=VALUE: NO_COLOR, TERM
	Signals        <-chan os.Signal // nil: none
}

// Run runs a command of this package until it is done, and answers the exit
// code: 0 when it is done, 1 when an instance has not done what it should, which
// a line of stderr says of each.
func Run(ctx context.Context, name config.Command, c config.Client, p Process) int {
	s := &session{
		config:   c,
		stdout:   p.Stdout,
		out:      newPrinter(p.Stdout, p.Env),
		stderr:   p.Stderr,
		progress: newProgress(p.Stderr, p.Env, c.JSON),
		signals:  p.Signals,
	}
	for _, e := range c.Admin {
		s.instances = append(s.instances, newInstance(e, c.TokenFile))
	}
	defer s.close()
	code := commands[name](ctx, s)
	if err := s.out.flush(); err != nil {
		if !errors.Is(err, syscall.EPIPE) { // as of a pager that was left
			s.say("write the answer: %v", err)
		}
		return exitNotDone
	}
	return code
}

// session is one run of a command.
type session struct {
	config    config.Client
	instances []*instance
	out       *printer // on stdout
	stdout    io.Writer
	stderr    io.Writer
	progress  *progress
	signals   <-chan os.Signal
	failed    bool // an instance has not done what it should
}

// fail says what an instance has not done, and why.
func (s *session) fail(i *instance, err error) {
	s.failed = true
	s.say("%s: %v", i.name, err)
}

// say prints a line for people, beside what a program reads.
func (s *session) say(format string, args ...any) {
	s.progress.end()
	fmt.Fprintln(s.stderr, "rosproxy:", printable(fmt.Sprintf(format, args...)))
}

// code is the exit code after all instances have been asked.
func (s *session) code() int {
	if s.failed {
		return exitNotDone
	}
	return exitDone
}

func (s *session) close() {
	s.progress.end()
	for _, i := range s.instances {
		i.close()
	}
}

// several reports whether it must be said which instance a line is about.
func (s *session) several() bool { return len(s.instances) > 1 }

// interruptible is a command whose context ends with the first signal, too.
func interruptible(c command) command {
	return func(ctx context.Context, s *session) int {
		ctx, stop := context.WithCancelCause(ctx)
		defer stop(nil)
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			s.awaitSignal(ctx, stop)
		}()
		code := c(ctx, s)
		stop(nil)
		<-watched
		return code
	}
}

// awaitSignal ends ctx, by stop, with the first signal.
func (s *session) awaitSignal(ctx context.Context, stop context.CancelCauseFunc) {
	select {
	case signal := <-s.signals:
		stop(fmt.Errorf("interrupted (%v)", signal))
	case <-ctx.Done():
	}
}

// maxForeign bounds a text that came from an instance, in bytes.
const maxForeign = 512

// printable is a text from outside as a line shows it.
func printable(s string) string { return config.Printable(s, maxForeign) }

// answer is what one instance answered, or why it did not.
type answer[T any] struct {
	from  *instance
	value T
	err   error
}

// askAll asks all instances side by side, and says of each that did not answer why.
func askAll[T any](ctx context.Context, s *session, ask func(context.Context, *instance) (T, error)) []answer[T] {
	answers := askEach(ctx, s.instances, ask)
	for _, a := range answers {
		if a.err != nil {
			s.fail(a.from, a.err)
		}
	}
	return answers
}

// askEach asks instances side by side; the answers are in their order.
func askEach[T any](ctx context.Context, instances []*instance, ask func(context.Context, *instance) (T, error)) []answer[T] {
	answers := make([]answer[T], len(instances))
	var asking sync.WaitGroup
	for n, i := range instances {
		asking.Go(func() {
			v, err := ask(ctx, i)
			answers[n] = answer[T]{i, v, err}
		})
	}
	asking.Wait()
	return answers
}
