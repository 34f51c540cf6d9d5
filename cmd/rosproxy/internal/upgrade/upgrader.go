package upgrade

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

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/listen"
	"github.com/rosproxy/rosproxy/drain"
	"github.com/rosproxy/rosproxy/drain/handover"
	"github.com/rosproxy/rosproxy/proxy"
)

// confirmTimeout is how long a successor that was told to serve has to say
// that it does, before the old process lets go of the sockets all the same.
const confirmTimeout = 10 * time.Second

// Notifier is told how an upgrade goes.
type Notifier interface {
	Reloading()
	Reloaded(trouble string)
	Succeeded(pid int)
}

// Config of an Upgrader.
type Config struct {
	Executable string   // what is started; empty: not known
	Args       []string // the program's name first
	Env        []string
	Watched    bool          // the service manager waits for signs of life
	Generation int           // of this process
	Timeout    time.Duration // for the new process to become ready

	Proxy     *proxy.Proxy
	Endpoints []*listen.Endpoint
	Lifecycle *drain.Machine
	Notifier  Notifier
	Allowed   <-chan struct{} // closed when this process serves
	Log       zerolog.Logger
}

// Upgrader replaces the process by a new one, with the same arguments and the
// same listening sockets.
type Upgrader struct {
	c          Config
	log        zerolog.Logger
	handedOver chan struct{} // closed when the successor has the sockets
	busy       atomic.Bool
	wanted     chan struct{} // holds one wish, of whoever set busy
}

// NewUpgrader makes an Upgrader, which does nothing before Run.
func NewUpgrader(c Config) *Upgrader {
	return &Upgrader{c: c, log: c.Log, handedOver: make(chan struct{}), wanted: make(chan struct{}, 1)}
}

// HandedOver is closed when a successor has the sockets.
func (u *Upgrader) HandedOver() <-chan struct{} { return u.handedOver }

// Ask starts an upgrade, or says in the log why not.
func (u *Upgrader) Ask() {
	if err := u.refusal(); err != nil {
		u.log.Warn().Err(err).Msg("upgrade refused")
		return
	}
	u.wanted <- struct{}{}
}

func (u *Upgrader) refusal() error {
	select {
	case <-u.c.Allowed:
	default:
		return errors.New("this process has not taken over yet")
	}
	switch {
	case u.c.Executable == "":
		return errors.New("it is not known which program to start")
	case os.Getpid() == 1:
		return errors.New("this process is the first of its container, which would end with it")
	case u.c.Lifecycle.Draining():
		return drain.ErrDraining
	case !u.busy.CompareAndSwap(false, true):
		return errors.New("another one is under way")
	}
	return nil
}

// Run does what was asked for until ctx ends. No process that has not taken
// over is left then.
func (u *Upgrader) Run(ctx context.Context) error {
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
func (u *Upgrader) watch(ctx context.Context, s *handover.Successor) {
	select {
	case <-s.Ended():
		if how, well := s.End(); !well {
			u.log.Error().Int("pid", s.PID()).Str("ended", how).Msg("the process that took over has failed: unless it had a successor nobody accepts connections")
		}
	case <-ctx.Done():
	}
}

// upgrade gives the process that has taken over; nil when none has.
func (u *Upgrader) upgrade(ctx context.Context) *handover.Successor {
	begun := time.Now()
	u.c.Notifier.Reloading()
	s, err := u.start()
	ended := ""
	if err == nil {
		u.log.Info().Str("program", u.c.Executable).Int("pid", s.PID()).Int("generation", u.c.Generation+1).Msg("upgrade started")
		if err = u.handOver(ctx, s); err == nil {
			u.log.Info().Int("pid", s.PID()).Dur("duration_ms", time.Since(begun)).Msg("handed over to the new process")
			return s
		}
		ended = s.CallOff()
	}
	u.log.Error().Err(err).Str("ended", ended).Dur("duration_ms", time.Since(begun)).Msg("upgrade failed, going on as before")
	u.c.Notifier.Reloaded("upgrade failed: " + err.Error())
	return nil
}

// start starts the new process with copies of all listening sockets.
func (u *Upgrader) start() (*handover.Successor, error) {
	sockets, err := listen.Copies(u.c.Proxy, u.c.Endpoints)
	if err != nil {
		return nil, err
	}
	defer listen.CloseAll(sockets)
	return handover.Start(handover.Config{
		Path:       u.c.Executable,
		Args:       u.c.Args,
		Env:        withoutManager(u.c.Env, u.c.Watched),
		Generation: u.c.Generation + 1,
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
func (u *Upgrader) handOver(ctx context.Context, s *handover.Successor) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := time.AfterFunc(u.c.Timeout, func() { cancel(fmt.Errorf("not ready within --upgrade-timeout %v", u.c.Timeout)) })
	defer late.Stop()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-u.c.Lifecycle.Exiting():
			cancel(drain.ErrDraining)
		case <-ctx.Done():
		}
	}()
	defer func() { cancel(nil); <-watched }()

	if err := s.AwaitReady(ctx); err != nil {
		return fmt.Errorf("await the new process: %w", err)
	}
	return u.c.Lifecycle.Succeed(func(ctx context.Context) error { return u.commit(ctx, s) })
}

// commit tells s to serve, and lets go of the sockets when it does. It returns
// an error only when s has ended instead.
func (u *Upgrader) commit(ctx context.Context, s *handover.Successor) error {
	ctx, cancel := context.WithTimeoutCause(ctx, confirmTimeout, fmt.Errorf("it has not said so within %v", confirmTimeout))
	defer cancel()
	switch err := s.TakeOver(ctx); {
	case errors.Is(err, handover.ErrGone):
		return fmt.Errorf("tell the new process to take over: %w", err)
	case err != nil:
		// It may have clients by now: there is no way back.
		u.log.Warn().Err(err).Int("pid", s.PID()).Msg("handing over to a process that may not serve yet")
	}
	u.c.Notifier.Succeeded(s.PID()) // before its own word to systemd, which listens to one process alone
	if err := u.c.Proxy.Release(); err != nil {
		u.log.Error().Err(err).Msg("listeners not released")
	}
	for _, e := range u.c.Endpoints {
		e.KeepPath(true)
	}
	s.Released()
	close(u.handedOver)
	return nil
}
