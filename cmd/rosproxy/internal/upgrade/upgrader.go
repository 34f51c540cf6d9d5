package upgrade

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/events"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/listen"
	"github.com/rosproxy/rosproxy/drain"
	"github.com/rosproxy/rosproxy/drain/handover"
	"github.com/rosproxy/rosproxy/proxy"
)

// maxConfirmTime is how long a successor that was told to serve has to say that
// it does, where --upgrade-timeout is longer.
const maxConfirmTime = 10 * time.Second

// event is the name of what is told of an upgrade.
const event = "upgrade"

// Notifier is told how an upgrade goes.
type Notifier interface {
	Reloading()
	Reloaded(trouble string)
	Succeeded(pid int)
	Reclaimed()
}

// Config of an Upgrader.
type Config struct {
	Executable  string   // what is started; empty: not known
	Args        []string // the program's name first
	Env         []string
	Watched     bool                  // the service manager waits for signs of life
	Parent      Parent                // of this process
	Predecessor *handover.Predecessor // nil: none
	Generation  int                   // of this process
	Timeout     time.Duration         // for the new process to become ready

	Proxy     *proxy.Proxy
	Pauses    *Pauses
	Endpoints *Endpoints
	Lifecycle *drain.Lifecycle
	Notifier  Notifier
	Allowed   <-chan struct{} // closed when this process serves
	Events    *events.Recent  // nil: nobody asks for them
	Log       zerolog.Logger
}

// Upgrader replaces the process by a new one, with the same arguments and the
// same listening sockets, and serves again when that one dies before it.
type Upgrader struct {
	c      Config
	log    zerolog.Logger
	busy   atomic.Bool
	wanted chan struct{} // holds one wish, of whoever set busy
	failed atomic.Uint64
	handed atomic.Bool // another process serves
}

// NewUpgrader makes an Upgrader, which does nothing before Run.
func NewUpgrader(c Config) *Upgrader {
	return &Upgrader{c: c, log: c.Log, wanted: make(chan struct{}, 1)}
}

// Failed is how many upgrades have failed in this process: no other took over, or
// the one that did has died and this process serves again.
func (u *Upgrader) Failed() uint64 { return u.failed.Load() }

// HandedOver reports whether another process serves in the place of this one.
func (u *Upgrader) HandedOver() bool { return u.handed.Load() }

// Ask starts an upgrade, or says in the log why not.
func (u *Upgrader) Ask() {
	if err := u.refusal(); err != nil {
		u.c.Events.Tell(u.log, zerolog.WarnLevel, event, "upgrade refused", "error", err)
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
	if err := u.c.Parent.forbids(); err != nil {
		return err
	}
	switch {
	case u.c.Executable == "":
		return errors.New("it is not known which program to start")
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
	exiting := u.c.Lifecycle.Exiting()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-exiting:
			exiting = nil
			u.c.Predecessor.Ending()
		case <-u.wanted:
			if s, err := u.upgrade(ctx); err == nil {
				u.watch(ctx, s)
			}
		}
	}
}

// upgrade gives the process that has taken over. Otherwise none is left, and
// the log says why.
func (u *Upgrader) upgrade(ctx context.Context) (*handover.Successor, error) {
	begun := time.Now()
	u.c.Notifier.Reloading()
	s, err := u.start()
	ended := ""
	if err == nil {
		u.c.Events.Tell(u.log, zerolog.InfoLevel, event, "upgrade started", "program", u.c.Executable, "pid", s.PID(), "generation", u.c.Generation+1)
		u.c.Pauses.prepare(s)
		if err = u.handOver(ctx, s); err == nil {
			u.busy.Store(false)
			u.c.Events.Tell(u.log, zerolog.InfoLevel, event, "handed over to the new process", "pid", s.PID(), "duration_ms", time.Since(begun))
			return s, nil
		}
		ended = s.CallOff()
		u.c.Pauses.takeBack()
	}
	u.busy.Store(false) // before anybody learns of the failure, who may ask again at once
	u.failed.Add(1)
	u.c.Events.Tell(u.log, zerolog.ErrorLevel, event, "upgrade failed, going on as before", "error", err, "ended", ended, "duration_ms", time.Since(begun))
	u.c.Notifier.Reloaded("upgrade failed: " + err.Error())
	return nil, err
}

// start starts the new process with copies of all listening sockets.
func (u *Upgrader) start() (*handover.Successor, error) {
	sockets, err := u.copies()
	if err != nil {
		return nil, err
	}
	defer listen.CloseAll(sockets)
	return handover.Start(handover.Config{
		Path:        u.c.Executable,
		Args:        u.c.Args,
		Env:         withoutManager(u.c.Env, u.c.Watched),
		Generation:  u.c.Generation + 1,
		Sockets:     sockets,
		Predecessor: u.c.Predecessor,
		Answer:      u.c.Pauses.Answer,
	})
}

func (u *Upgrader) copies() ([]handover.Socket, error) {
	sockets, err := listen.Copies(u.c.Proxy)
	if err != nil {
		return nil, err
	}
	endpoints, err := u.c.Endpoints.Copies()
	if err != nil {
		listen.CloseAll(sockets)
		return nil, err
	}
	return append(sockets, endpoints...), nil
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
// then this process accepts, and a drain of it ends the upgrade.
func (u *Upgrader) handOver(ctx context.Context, s *handover.Successor) error {
	serving, stop := u.c.Lifecycle.WhileServing(ctx)
	defer stop()
	ready, cancel := context.WithTimeoutCause(serving, u.c.Timeout, fmt.Errorf("not ready within --upgrade-timeout %v", u.c.Timeout))
	defer cancel()
	if err := s.AwaitReady(ready); err != nil {
		return fmt.Errorf("await the new process: %w", err)
	}
	if err := u.c.Pauses.handOver(s); err != nil {
		return fmt.Errorf("leave the pauses to the new process: %w", err)
	}
	confirmTime := min(u.c.Timeout, maxConfirmTime)
	confirmed, cancel := context.WithTimeoutCause(serving, confirmTime, fmt.Errorf("it has not said that it serves within %v", confirmTime))
	defer cancel()
	if err := s.TakeOver(confirmed); err != nil {
		return fmt.Errorf("tell the new process to take over: %w", err)
	}
	var left <-chan struct{}
	if err := u.c.Lifecycle.Succeed(func() (err error) { left, err = u.c.Proxy.Release(); return err }); err != nil {
		return fmt.Errorf("leave the listeners to the new process: %w", err)
	}
	u.handed.Store(true)
	u.c.Notifier.Succeeded(s.PID()) // before its own word to systemd, which listens to one process alone
	if err := u.c.Endpoints.Release(); err != nil {
		u.log.Error().Err(err).Msg("admin endpoints could not be served again should the new process die")
	}
	u.c.Predecessor.HandedOver()
	select {
	case <-left:
	case <-ctx.Done():
	}
	s.Released()
	return nil
}

// watch serves again when the process that took over has died, and whoever took
// over from it, before this process has ended.
func (u *Upgrader) watch(ctx context.Context, s *handover.Successor) {
	defer s.Close()
	untilExit, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		select {
		case <-u.c.Lifecycle.Exiting():
		case <-untilExit.Done():
		}
	}()
	how, err := s.AwaitDeath(untilExit)
	switch {
	case err == nil:
		u.reclaim(s, how)
	case errors.Is(err, handover.ErrEnded):
		u.c.Predecessor.Ending() // a program of before does not say so itself
		u.closeReleased()
	case ctx.Err() == nil: // this process was told to end: it takes nobody's place any more
		u.c.Predecessor.Close()
		u.closeReleased()
	}
}

func (u *Upgrader) reclaim(s *handover.Successor, how string) {
	u.failed.Add(1)
	if err := u.c.Lifecycle.Reclaim(); err != nil {
		u.c.Events.Tell(u.log, zerolog.ErrorLevel, event, "the process that took over has failed, nobody accepts connections", "pid", s.PID(), "ended", how, "error", err)
		u.c.Predecessor.Close() // for one before this one to try
		u.closeReleased()
		return
	}
	u.handed.Store(false)
	u.c.Pauses.takeBack()
	u.c.Events.Tell(u.log, zerolog.ErrorLevel, event, "the process that took over has failed, serving again", "pid", s.PID(), "ended", how)
	if err := u.c.Endpoints.Reclaim(); err != nil {
		u.log.Error().Err(err).Msg("admin endpoints not served again")
	}
	u.c.Notifier.Reclaimed()
}

func (u *Upgrader) closeReleased() {
	u.c.Proxy.CloseReleased()
	u.c.Endpoints.CloseReleased()
}
