package main

import (
	"context"
	"errors"
	"fmt"
	"os"
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

// run opens the listeners and runs everything until a drain with exit is over,
// a second signal comes, ctx ends, or something fails. When it returns, every
// listener and connection is closed and every goroutine has ended. The admin
// endpoints answer until all else has ended.
func run(ctx context.Context, c Config, source masterSource, signals <-chan os.Signal, log zerolog.Logger) error {
	mainLog := log.With().Str("component", "main").Logger()
	mainLog.Info().Stringer("version", buildVersion()).Int("pid", os.Getpid()).Msg("starting")
	for _, w := range c.Warnings {
		mainLog.Warn().Msg(w)
	}

	adminListener, err := listenAdmin(ctx, c.Admin)
	if err != nil {
		return err
	}
	agentListener, err := listenAgentCheck(ctx, c.AgentCheck)
	if err != nil {
		return errors.Join(err, adminListener.Close())
	}
	data, err := proxy.New(c.Proxy, log)
	if err != nil {
		return errors.Join(fmt.Errorf("open proxy: %w", err), adminListener.Close(), closeIfOpen(agentListener))
	}
	machine := drain.New(c.Drain, target{data}, log)
	a := &admin{
		data:    data,
		source:  source,
		machine: machine,
		guard:   guard{c.Admin.TokenFile},
		build:   buildVersion(),
		begun:   time.Now(),
		log:     log.With().Str("component", "admin").Logger(),
	}

	// The admin server outlives the work: its own context ends when the work has.
	adminCtx, closeAdmin := context.WithCancel(context.WithoutCancel(ctx))
	defer closeAdmin()
	workCtx, stopWork := context.WithCancel(ctx)
	defer stopWork()
	var endpoints errgroup.Group
	endpoints.Go(func() error {
		defer stopWork() // nobody could see or drain a proxy without its endpoints
		return a.serve(adminCtx, adminListener)
	})
	if agentListener != nil {
		agent := &agentCheck{readiness: a.readiness, log: log.With().Str("component", "agent-check").Logger()}
		endpoints.Go(func() error {
			defer stopWork() // a balancer must not go on with what it was told last
			return agent.serve(adminCtx, agentListener)
		})
	}
	work, workCtx := errgroup.WithContext(workCtx)
	work.Go(func() error { return source.Run(workCtx, sink{data}) })
	work.Go(func() error { return data.Serve(workCtx) })
	work.Go(func() error { return machine.Run(workCtx) })
	work.Go(func() error { return obey(workCtx, signals, machine, mainLog) })

	err = work.Wait()
	closeAdmin()
	if err := endpoints.Wait(); err != nil {
		return err
	}
	if err == nil || errors.Is(err, errEnd) || ctx.Err() != nil {
		mainLog.Info().Msg("stopped")
		return nil
	}
	return err
}

// obey turns signals into a drain, a second one into the end, and returns
// errEnd when the process should exit.
func obey(ctx context.Context, signals <-chan os.Signal, machine *drain.Machine, log zerolog.Logger) error {
	for signalled := false; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-machine.Done():
			return errEnd
		case s := <-signals:
			if signalled {
				log.Warn().Stringer("signal", s).Msg("second signal: ending at once")
				return errEnd
			}
			signalled = true
			log.Info().Stringer("signal", s).Msg("signal: draining")
			machine.Start(drain.Options{Exit: true})
		}
	}
}
