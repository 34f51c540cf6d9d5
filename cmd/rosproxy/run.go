package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/admin"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/events"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/hook"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/listen"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/systemd"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/upgrade"
	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/drain"
	"github.com/rosproxy/rosproxy/drain/handover"
	"github.com/rosproxy/rosproxy/proxy"
)

// instance is all that one run of the proxy consists of.
type instance struct {
	program   Program
	source    discovery.Source
	proxy     *proxy.Proxy
	lifecycle *drain.Lifecycle
	events    *events.Recent
	hook      *hook.Runner // nil: no command is run for what becomes of masters
	admin     *admin.Server
	endpoints *upgrade.Endpoints
	takeover  *upgrade.Takeover
	pauses    *upgrade.Pauses
	unwanted  []handover.Socket // of the predecessor: the configuration has changed
	upgrader  *upgrade.Upgrader
	notifier  *systemd.Notifier
	log       zerolog.Logger
}

// run opens the listeners and runs everything until a drain with exit is over,
// a second signal comes, ctx ends, or something fails. A successor serves when
// its predecessor lets it, and ends if it never does. When it returns, every
// listener and connection is closed and every goroutine has ended. The admin
// endpoints answer until all else has ended.
func run(ctx context.Context, c config.Config, source discovery.Source, program Program, log zerolog.Logger) error {
	i, err := open(ctx, c, source, program, log)
	if err != nil {
		program.Predecessor.Failed(config.OneLine(err.Error()))
		return err
	}
	// What the start has left behind is most of the heap by now, and would stay until
	// the first collection, with the memory of connections beside it.
	debug.FreeOSMemory()
	return i.serve(ctx)
}

// open opens every socket and makes everything that serve runs. An error
// leaves nothing open.
func open(ctx context.Context, c config.Config, source discovery.Source, program Program, log zerolog.Logger) (*instance, error) {
	i := &instance{program: program, source: source, events: &events.Recent{}, log: log.With().Str("component", "main").Logger()}
	i.log.Info().Stringer("version", build()).Int("pid", os.Getpid()).Int("generation", program.generation()).Msg("starting")
	i.openHook(c, log)
	for _, w := range c.Warnings {
		i.log.Warn().Msg(w)
	}
	for _, path := range listen.RemoveStale(program.Env) {
		i.log.Info().Str("path", path).Msg("removed the admin socket of a process that was killed")
	}
	limits, err := listen.CurrentLimits()
	if err != nil {
		return nil, err
	}
	c.Proxy.Reserved = c.Descriptors(c.Proxy.Shards) + limits.Descriptors()
	c.Proxy = withHints(c, source)
	c.Proxy.OnEvent, c.Drain.OnEvent = i.events.Add, i.events.Add
	endpoints, err := i.openSockets(ctx, c, limits, log)
	if err != nil {
		return nil, err
	}
	i.takeover = upgrade.NewTakeover(program.Predecessor, i.events, i.log)
	i.pauses = upgrade.NewPauses(i.proxy, program.Predecessor, i.log)
	i.lifecycle = drain.New(c.Drain, target{i.proxy}, log)
	i.notifier = systemd.NewNotifier(program.Notify, i.log)
	i.admin = admin.New(admin.Config{
		Proxy: i.proxy, Pauser: i.pauses, Source: source, Lifecycle: i.lifecycle, TokenFile: c.Admin.TokenFile, Hosts: c.Admin.Hosts,
		Events: i.events, Build: build(), Started: time.Now(), Generation: program.generation(),
		FailedUpgrades: func() uint64 { return i.upgrader.Failed() }, // which is made below: it needs these endpoints
		Log:            log.With().Str("component", "admin").Logger(),
	})
	i.endpoints = &upgrade.Endpoints{
		Allowed:  i.takeover.Allowed(),
		OpenOwn:  func(ctx context.Context) (net.Listener, error) { return listen.OpenOwn(ctx, program.Env, limits.Admin) },
		ServeOwn: i.admin.Serve, Log: i.log,
	}
	agent := admin.NewAgentCheck(i.admin, log.With().Str("component", "agent-check").Logger())
	serve := map[string]upgrade.ServeFunc{listen.Admin: i.admin.Serve, listen.AgentCheck: agent.Serve}
	for _, e := range endpoints {
		i.endpoints.Add(upgrade.Endpoint{Endpoint: e, Serve: serve[e.Name()]})
	}
	i.upgrader = upgrade.NewUpgrader(upgrade.Config{
		Executable: program.Executable, Args: program.argv(), Env: program.Env, Watched: program.Watchdog > 0,
		Parent: program.Parent, Predecessor: program.Predecessor, Generation: program.generation(), Timeout: c.UpgradeTimeout,
		Proxy: i.proxy, Pauses: i.pauses, Endpoints: i.endpoints, Lifecycle: i.lifecycle, Notifier: i.notifier,
		Allowed: i.takeover.Allowed(), Events: i.events, Log: i.log,
	})
	return i, nil
}

// openSockets opens what the configuration names and was not inherited.
func (i *instance) openSockets(ctx context.Context, c config.Config, limits listen.Limits, log zerolog.Logger) (endpoints []*listen.Endpoint, err error) {
	inherited := listen.NewInherited(i.program.handedOver(), i.program.Activated, c.Proxy.Listeners)
	defer func() {
		i.unwanted = inherited.Unwanted()
		for _, name := range inherited.Names() {
			i.log.Warn().Str("socket", name).Msg("closing a socket that was given and is not wanted")
		}
		err = errors.Join(err, inherited.Close())
		if err != nil {
			listen.CloseAll(i.unwanted)
			for _, e := range endpoints {
				err = errors.Join(err, e.Close())
			}
			if i.proxy != nil {
				err = errors.Join(err, i.proxy.Close())
			}
		}
	}()
	for _, e := range []struct {
		name  string
		at    config.Endpoint
		conns int
	}{{listen.Admin, c.Admin.Endpoint, limits.Admin}, {listen.AgentCheck, c.AgentCheck, limits.Agent}} {
		if e.at.Network == "" {
			continue
		}
		opened, err := inherited.Open(ctx, e.name, e.at.Network, e.at.Address, e.conns)
		if err != nil {
			return endpoints, err
		}
		endpoints = append(endpoints, opened...)
	}
	// An inherited one need not be the one that the configuration was checked with,
	// and a name may stand for other addresses.
	for _, e := range endpoints {
		if e.Name() == listen.Admin && !e.IsLocal() && c.Admin.TokenFile == "" {
			return endpoints, fmt.Errorf("open the admin endpoints: %v is not loopback: needs --admin-token-file", e.Addr())
		}
	}
	if i.proxy, err = inherited.OpenProxy(ctx, c.Proxy, log); err != nil {
		return endpoints, fmt.Errorf("open proxy: %w", err)
	}
	return endpoints, nil
}

// errEnd ends the work when the process should exit; it is no failure.
var errEnd = errors.New("end of the process")

// serve does the work until it ends, for whatever reason, then closes the endpoints.
func (i *instance) serve(ctx context.Context) error {
	// The endpoints outlive the work: their own context ends when the work has.
	answeringCtx, stopAnswering := context.WithCancel(context.WithoutCancel(ctx))
	defer stopAnswering()
	workCtx, stopWork := context.WithCancel(ctx)
	defer stopWork()
	var answering errgroup.Group
	answering.Go(func() error {
		defer stopWork() // nobody could see or drain a proxy without its endpoints, and a balancer would go on with what it was told last
		return i.endpoints.Run(answeringCtx)
	})
	hooked := i.startHook(workCtx)
	work, workCtx := errgroup.WithContext(workCtx)
	work.Go(func() error { return i.source.Run(workCtx, sink{i.proxy, i.events}) })
	work.Go(func() error { return i.serveClients(workCtx) })
	work.Go(func() error { return i.lifecycle.Run(workCtx) })
	work.Go(func() error { return i.obeySignals(workCtx) })
	work.Go(func() error { return i.upgrader.Run(workCtx) })
	work.Go(func() error { return i.takeover.Settle(workCtx, i.proxy) })
	work.Go(func() error { return i.retireUnwanted(workCtx) })
	work.Go(func() error {
		return i.notifier.Run(workCtx, i.takeover.Settled(), i.lifecycle.Exiting(), i.admin.Summary)
	})
	work.Go(func() error {
		return i.notifier.Watchdog(workCtx, i.takeover.Settled(), i.program.Watchdog, i.proxy.Heartbeat)
	})
	worked := work.Wait()
	stopWork()
	i.withdraw() // while commands of the hook end
	<-hooked
	stopAnswering()
	return i.close(worked, answering.Wait(), ctx.Err() != nil)
}

// withdrawTimeout bounds how long Consul holds up the end.
const withdrawTimeout = 2 * time.Second

// withdraw takes away what this process has reported, now that its last
// connection is closed: no election has to wait for it. Those that it handed over
// to, or took over from, have reports of their own.
func (i *instance) withdraw() {
	ctx, cancel := context.WithTimeout(context.Background(), withdrawTimeout)
	defer cancel()
	i.source.Withdraw(ctx)
}

// close reports whether the end was one in good order: called for, or the end of a drain.
func (i *instance) close(worked, answered error, calledFor bool) error {
	if answered != nil {
		return answered
	}
	if worked == nil || errors.Is(worked, errEnd) || errors.Is(worked, upgrade.ErrNotNeeded) || calledFor {
		i.log.Info().Msg("stopped")
		return nil
	}
	return worked
}

// serveClients serves when this process may.
func (i *instance) serveClients(ctx context.Context) error {
	if err := i.takeover.Await(ctx, i.admin.AwaitKnown, i.pauses.Inherit); err != nil {
		return errors.Join(err, i.proxy.Close())
	}
	return i.proxy.Serve(ctx)
}

// retireUnwanted closes the ports of what the predecessor listened on and this
// process does not, once it serves alone. Until then they may be needed again.
func (i *instance) retireUnwanted(ctx context.Context) error {
	select {
	case <-i.takeover.Settled():
	case <-ctx.Done():
		listen.CloseAll(i.unwanted)
		return nil
	}
	for _, s := range i.unwanted {
		i.log.Info().Str("socket", s.Name).Msg("listener closed: the configuration has it no more")
	}
	if err := listen.Retire(i.unwanted); err != nil {
		i.log.Warn().Err(err).Msg("an old listener could not be closed")
	}
	return nil
}

// obeySignals turns signals into a drain, a second one into the end, SIGUSR2
// and SIGHUP into an upgrade, and returns errEnd when the process should exit. A process
// that does not serve yet has nothing to drain.
func (i *instance) obeySignals(ctx context.Context) error {
	for signalled := false; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-i.lifecycle.Done():
			return errEnd
		case s := <-i.program.Signals:
			switch {
			case s == syscall.SIGUSR2, s == syscall.SIGHUP:
				i.upgrader.Ask()
				continue
			case !i.takeover.IsAllowed():
				i.log.Info().Stringer("signal", s).Msg("signal: ending before the takeover")
				return errEnd
			case signalled:
				i.log.Warn().Stringer("signal", s).Msg("second signal: ending at once")
				return errEnd
			}
			signalled = true
			i.log.Info().Stringer("signal", s).Msg("signal: draining")
			i.lifecycle.Start(drain.Options{Exit: true})
		}
	}
}
