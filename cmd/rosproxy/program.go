package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/check"
	clientcmd "github.com/rosproxy/rosproxy/cmd/rosproxy/internal/client"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/logging"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/upgrade"
	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/drain/handover"
	"github.com/rosproxy/rosproxy/proxy"
)

// Program is one run of rosproxy with all that it takes from its process, so
// that a test can run the whole of it.
type Program struct {
	Args    []string // without the program's name
	Env     []string // NAME=VALUE
	Stdout  io.Writer
	Stderr  io.Writer
	Signals <-chan os.Signal // SIGUSR2 and SIGHUP upgrade; of the others the first drains and exits, the second ends at once; nil: none

	Executable  string                   // what an upgrade starts; empty: not known
	Name        string                   // by which it is started, its argument zero; empty: Executable
	Parent      upgrade.Parent           // of the process
	Predecessor *handover.Predecessor    // who serves, and lets this process take over; nil: nobody
	Activated   []*os.File               // listening sockets of systemd; the files have its names for them
	Notify      func(state string) error // tells the service manager, as sd_notify(3) does; nil: there is none
	Watchdog    time.Duration            // how often Notify must be told that all is well; 0: never
}

// What the program exits with.
const (
	exitOK     = 0 // drained, or nothing was wrong
	exitFailed = 1 // failed at run time, check found a fault, or an instance did not do what a client command asked
	exitUsage  = 2 // bad usage or configuration
)

// Run runs the command that Args name, until it is done, and answers the exit
// code. The end of ctx ends it at once, without a drain.
func (p Program) Run(ctx context.Context) int {
	command, c, err := config.Parse(p.Args, p.Env, p.Stdout)
	if err != nil {
		return p.usage(err)
	}
	switch command {
	case config.Help: // has been printed
		return exitOK
	case config.Version:
		fmt.Fprintln(p.Stdout, "rosproxy", build())
		return exitOK
	}
	if clientcmd.Has(command) {
		return clientcmd.Run(ctx, command, c.Client, clientcmd.Process{Stdout: p.Stdout, Stderr: p.Stderr, Env: p.Env, Signals: p.Signals})
	}
	log, stopLog := logging.Start(c.Log.Level, c.Log.Format, p.Stderr)
	defer stopLog()
	source, err := c.NewSource(log)
	if err != nil {
		return p.usage(err)
	}
	if name := c.Proxy.Congestion; name != "" {
		if err := proxy.CheckCongestion(name); err != nil {
			return p.usage(fmt.Errorf("--congestion-control %q: %w", name, err))
		}
	}
	if command == config.Check {
		return p.check(ctx, c, source)
	}
	return p.runProxy(ctx, c, source, log)
}

// check finds out whether a run would work. A signal ends it: a Consul that
// hangs, or a master behind a firewall, may take many seconds.
func (p Program) check(ctx context.Context, c config.Config, source discovery.Source) int {
	ctx, stop := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go p.awaitSignal(ctx, stop, watched)
	ok := check.Run(ctx, c, source, p.Stdout)
	stop(nil)
	<-watched
	if !ok {
		return exitFailed
	}
	return exitOK
}

// awaitSignal ends ctx, by stop, with the first signal, and closes watched.
func (p Program) awaitSignal(ctx context.Context, stop context.CancelCauseFunc, watched chan<- struct{}) {
	defer close(watched)
	select {
	case s := <-p.Signals:
		stop(fmt.Errorf("interrupted (%v)", s))
	case <-ctx.Done():
	}
}

// usage prints the one line that a bad configuration is worth. Of a successor it
// is the predecessor's, for its log.
func (p Program) usage(err error) int {
	if p.Predecessor.Failed(config.OneLine(err.Error())) {
		return exitUsage
	}
	fmt.Fprintln(p.Stderr, "rosproxy:", config.OneLine(err.Error()))
	return exitUsage
}

// runProxy runs the proxy and logs what it failed with.
func (p Program) runProxy(ctx context.Context, c config.Config, source discovery.Source, log zerolog.Logger) int {
	// A shard under load keeps its place in Go's scheduler while it waits for
	// events. One more is for all the rest: who must cut must not queue.
	cpus := runtime.GOMAXPROCS(0)
	c.Proxy.Shards = cmp.Or(c.Proxy.Shards, cpus)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(max(cpus, c.Proxy.Shards+1)))
	if err := run(ctx, c, source, p, log); err != nil {
		log.Error().Str("component", "main").Err(err).Msg("failed")
		return exitFailed
	}
	return exitOK
}

// argv is what a successor is started with.
func (p Program) argv() []string { return append([]string{cmp.Or(p.Name, p.Executable)}, p.Args...) }

// generation is 1 for a process that no other handed over to.
func (p Program) generation() int {
	if p.Predecessor == nil {
		return 1
	}
	return p.Predecessor.Generation
}

// handedOver are the sockets of the predecessor.
func (p Program) handedOver() []handover.Socket {
	if p.Predecessor == nil {
		return nil
	}
	return p.Predecessor.Sockets
}
