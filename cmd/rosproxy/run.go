package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/drain"
	"github.com/rosproxy/rosproxy/proxy"
)

// masterSource is a source of masters and what it knows.
type masterSource = discovery.Source

// newSource makes the source of masters that c names. Its error is a fault of
// the configuration: a Consul that is away is none.
func newSource(c Config, log zerolog.Logger) (masterSource, error) {
	if c.Static != nil {
		s, err := discovery.NewStatic(c.Static, c.Discovery.Labels, log)
		if err != nil {
			return nil, fmt.Errorf("--static-master: %w", err)
		}
		return s, nil
	}
	s, err := discovery.NewConsul(c.Discovery, log)
	if err != nil {
		return nil, fmt.Errorf("--consul-addr or CONSUL_*: %w", err)
	}
	return s, nil
}

// errEnd ends the group when the process should exit; it is no failure.
var errEnd = errors.New("end of the process")

// openAll opens what the configuration names and was not given. An error leaves nothing open.
func openAll(ctx context.Context, c Config, g *given, log zerolog.Logger) (endpoints []*endpoint, data *proxy.Proxy, err error) {
	defer func() {
		if err != nil {
			for _, e := range endpoints {
				err = errors.Join(err, e.Close())
			}
		}
	}()
	adminEndpoint, err := openAdmin(ctx, g, c.Admin)
	if err != nil {
		return nil, nil, err
	}
	endpoints = append(endpoints, adminEndpoint)
	agentEndpoint, err := openAgentCheck(ctx, g, c.AgentCheck)
	if err != nil {
		return endpoints, nil, err
	}
	if agentEndpoint != nil {
		endpoints = append(endpoints, agentEndpoint)
	}
	if data, err = g.openProxy(c.Proxy, log); err != nil {
		return endpoints, nil, fmt.Errorf("open proxy: %w", err)
	}
	return endpoints, data, nil
}

// run opens the listeners and runs everything until a drain with exit is over,
// a second signal comes, ctx ends, or something fails. A successor serves when
// its predecessor lets it, and ends if it never does. When it returns, every
// listener and connection is closed and every goroutine has ended. The admin
// endpoints answer until all else has ended.
func run(ctx context.Context, c Config, source masterSource, program Program, log zerolog.Logger) error {
	mainLog := log.With().Str("component", "main").Logger()
	mainLog.Info().Stringer("version", buildVersion()).Int("pid", os.Getpid()).Int("generation", program.Inherited.generation()).Msg("starting")
	for _, w := range c.Warnings {
		mainLog.Warn().Msg(w)
	}

	given, err := newGiven(program.Inherited, c.Proxy.Listeners)
	if err != nil {
		return err
	}
	endpoints, data, err := openAll(ctx, c, given, log)
	for _, s := range given.sockets {
		mainLog.Warn().Str("socket", s.Name).Msg("closing a socket that was given and is not wanted")
	}
	if err := errors.Join(err, given.close()); err != nil {
		return err
	}
	turn := newTurn(program.Inherited.predecessor, mainLog)
	machine := drain.New(c.Drain, target{data}, log)
	a := &admin{
		data:    data,
		source:  source,
		machine: machine,
		guard:   guard{c.Admin.TokenFile},
		build:   buildVersion(),
		begun:   time.Now(),
		number:  program.Inherited.generation(),
		log:     log.With().Str("component", "admin").Logger(),
	}

	// The admin server outlives the work: its own context ends when the work has.
	adminCtx, closeAdmin := context.WithCancel(context.WithoutCancel(ctx))
	defer closeAdmin()
	workCtx, stopWork := context.WithCancel(ctx)
	defer stopWork()
	manager := &manager{send: program.Notify, log: mainLog}
	u := &upgrader{
		program: program, generation: a.number, timeout: c.UpgradeTimeout, data: data, endpoints: endpoints,
		machine: machine, manager: manager, turn: turn.come, log: mainLog,
		handedOver: make(chan struct{}), wanted: make(chan struct{}, 1),
	}
	f := &faces{
		turn: turn.come, handedOver: u.handedOver,
		own: ownSocket(program.Env), serveOwn: a.serve, log: mainLog,
	}
	agent := &agentCheck{readiness: a.readiness, log: log.With().Str("component", "agent-check").Logger()}
	for _, e := range endpoints {
		f.all = append(f.all, face{e, map[string]serveFunc{adminSocket: a.serve, agentSocket: agent.serve}[e.name]})
	}
	var answering errgroup.Group
	answering.Go(func() error {
		defer stopWork() // nobody could see or drain a proxy without its endpoints, and a balancer would go on with what it was told last
		return f.serve(adminCtx)
	})
	work, workCtx := errgroup.WithContext(workCtx)
	work.Go(func() error { return source.Run(workCtx, sink{data}) })
	work.Go(func() error {
		if err := turn.await(workCtx, a.awaitKnown); err != nil {
			return errors.Join(err, data.Close())
		}
		return data.Serve(workCtx)
	})
	work.Go(func() error { return machine.Run(workCtx) })
	work.Go(func() error { return obey(workCtx, program.Signals, machine, turn, u, mainLog) })
	work.Go(func() error { return u.run(workCtx) })
	work.Go(func() error { return turn.settle(workCtx, data) })
	work.Go(func() error { return manager.run(workCtx, turn.settled, machine.Exiting(), a.summary) })
	work.Go(func() error { return manager.watchdog(workCtx, turn.settled, program.Watchdog, data.Heartbeat) })

	err = work.Wait()
	closeAdmin()
	if err := answering.Wait(); err != nil {
		return err
	}
	if err == nil || errors.Is(err, errEnd) || ctx.Err() != nil {
		mainLog.Info().Msg("stopped")
		return nil
	}
	return err
}

// obey turns signals into a drain, a second one into the end, SIGUSR2 into an
// upgrade, and returns errEnd when the process should exit. A process whose
// turn to serve has not come has nothing to drain.
func obey(ctx context.Context, signals <-chan os.Signal, machine *drain.Machine, t *turn, u *upgrader, log zerolog.Logger) error {
	for signalled := false; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-machine.Done():
			return errEnd
		case s := <-signals:
			switch {
			case s == syscall.SIGUSR2:
				u.ask()
				continue
			case !t.hasCome():
				log.Info().Stringer("signal", s).Msg("signal: ending before the turn to serve has come")
				return errEnd
			case signalled:
				log.Warn().Stringer("signal", s).Msg("second signal: ending at once")
				return errEnd
			}
			signalled = true
			log.Info().Stringer("signal", s).Msg("signal: draining")
			machine.Start(drain.Options{Exit: true})
		}
	}
}
