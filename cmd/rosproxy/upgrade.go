package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/drain"
	"github.com/rosproxy/rosproxy/drain/handover"
	"github.com/rosproxy/rosproxy/proxy"
)

// confirmTimeout is how long a successor that was told to serve has to say
// that it does, before the old process lets go of the sockets all the same.
const confirmTimeout = 10 * time.Second

// upgrader replaces the process by a new one, with the same arguments and the
// same listening sockets.
type upgrader struct {
	program    Program
	generation int           // of this process
	timeout    time.Duration // for the new one to become ready
	data       *proxy.Proxy
	endpoints  []*endpoint
	machine    *drain.Machine
	manager    *manager
	turn       <-chan struct{} // closed when this process serves
	log        zerolog.Logger

	handedOver chan struct{} // closed when the successor has the sockets
	busy       atomic.Bool
	wanted     chan struct{} // holds one wish, of whoever set busy
}

// ask starts an upgrade, or says in the log why not.
func (u *upgrader) ask() {
	if err := u.refusal(); err != nil {
		u.log.Warn().Err(err).Msg("upgrade refused")
		return
	}
	u.wanted <- struct{}{}
}

func (u *upgrader) refusal() error {
	select {
	case <-u.turn:
	default:
		return errors.New("this process has not taken over yet")
	}
	switch {
	case u.program.Executable == "":
		return errors.New("it is not known which program to start")
	case os.Getpid() == 1:
		return errors.New("this process is the first of its container, which would end with it")
	case u.machine.Draining():
		return drain.ErrDraining
	case !u.busy.CompareAndSwap(false, true):
		return errors.New("another one is under way")
	}
	return nil
}

// run does what was asked for until ctx ends. No process that has not taken
// over is left then.
func (u *upgrader) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-u.wanted:
			s := u.upgrade(ctx)
			u.busy.Store(false)
			if s != nil {
				u.watch(ctx, s)
			}
		}
	}
}

// watch says so when the successor fails before this process has ended. One
// that ended in good order has drained, most likely for a successor of its own.
func (u *upgrader) watch(ctx context.Context, s *handover.Successor) {
	select {
	case <-s.Ended():
		if how, well := s.End(); !well {
			u.log.Error().Int("pid", s.PID()).Str("ended", how).Msg("the process that took over has failed: unless it had a successor nobody accepts connections")
		}
	case <-ctx.Done():
	}
}

// upgrade gives the process that has taken over; nil when none has.
func (u *upgrader) upgrade(ctx context.Context) *handover.Successor {
	begun := time.Now()
	u.manager.reloading()
	s, err := u.start()
	ended := ""
	if err == nil {
		u.log.Info().Str("program", u.program.Executable).Int("pid", s.PID()).Int("generation", u.generation+1).Msg("upgrade started")
		if err = u.handOver(ctx, s); err == nil {
			u.log.Info().Int("pid", s.PID()).Dur("duration_ms", time.Since(begun)).Msg("handed over to the new process")
			return s
		}
		ended = s.CallOff()
	}
	u.log.Error().Err(err).Str("ended", ended).Dur("duration_ms", time.Since(begun)).Msg("upgrade failed, going on as before")
	u.manager.reloaded("upgrade failed: " + oneLine(err.Error()))
	return nil
}

// start starts the new process with copies of all listening sockets.
func (u *upgrader) start() (*handover.Successor, error) {
	files, err := u.data.ListenerFiles()
	if err != nil {
		return nil, err
	}
	var sockets []handover.Socket
	defer func() {
		for _, s := range sockets {
			_ = s.File.Close() // a copy
		}
	}()
	for i, f := range files {
		l := u.data.Listeners()[i]
		sockets = append(sockets, handover.Socket{Name: listenSocket + l.Label, File: f, Shared: l.Shared})
	}
	for _, e := range u.endpoints {
		s, err := e.copy()
		if err != nil {
			return nil, err
		}
		sockets = append(sockets, s)
	}
	return handover.Start(handover.Config{
		Path:       u.program.Executable,
		Args:       append([]string{u.program.name()}, u.program.Args...),
		Env:        withoutManager(u.program.Env, u.program.Watchdog > 0),
		Generation: u.generation + 1,
		Sockets:    sockets,
	})
}

// withoutManager leaves out of env what systemd said to this process alone.
func withoutManager(env []string, watched bool) []string {
	drop := []string{"LISTEN_PID=", "LISTEN_FDS=", "LISTEN_FDNAMES=", "WATCHDOG_PID="}
	if !watched {
		drop = append(drop, "WATCHDOG_USEC=") // without its PID it would seem to be meant for anybody
	}
	return slices.DeleteFunc(slices.Clone(env), func(e string) bool {
		return slices.ContainsFunc(drop, func(d string) bool { return strings.HasPrefix(e, d) })
	})
}

// handOver returns nil when s has taken over and this process drains. Until
// then a drain that ends the process calls it off.
func (u *upgrader) handOver(ctx context.Context, s *handover.Successor) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := time.AfterFunc(u.timeout, func() { cancel(fmt.Errorf("not ready within --upgrade-timeout %v", u.timeout)) })
	defer late.Stop()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-u.machine.Exiting():
			cancel(drain.ErrDraining)
		case <-ctx.Done():
		}
	}()
	defer func() { cancel(nil); <-watched }()

	if err := s.AwaitReady(ctx); err != nil {
		return fmt.Errorf("await the new process: %w", err)
	}
	return u.machine.Succeed(func(ctx context.Context) error { return u.commit(ctx, s) })
}

// commit tells s to serve, and lets go of the sockets when it does. It returns
// an error only when s has ended instead.
func (u *upgrader) commit(ctx context.Context, s *handover.Successor) error {
	ctx, cancel := context.WithTimeoutCause(ctx, confirmTimeout, fmt.Errorf("it has not said so within %v", confirmTimeout))
	defer cancel()
	switch err := s.TakeOver(ctx); {
	case errors.Is(err, handover.ErrGone):
		return fmt.Errorf("tell the new process to take over: %w", err)
	case err != nil:
		// It may have clients by now: there is no way back.
		u.log.Warn().Err(err).Int("pid", s.PID()).Msg("handing over to a process that may not serve yet")
	}
	u.manager.succeeded(s.PID()) // before its own word to systemd, which listens to one process alone
	if err := u.data.Release(); err != nil {
		u.log.Error().Err(err).Msg("listeners not released")
	}
	for _, e := range u.endpoints {
		e.keepPath(true)
	}
	s.Released()
	close(u.handedOver)
	return nil
}
