// Command rosproxy keeps clients connected to the one current master of a
// cluster, as Consul names it, and cuts them off from the old one the moment
// a new one is elected.
//
// It exits 0 after a drain, 1 when it failed at run time, and 2 when the
// command line or the environment is wrong. Its other commands exit 0 when they
// have done what they were asked.
package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
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

func main() {
	signals := make(chan os.Signal, 8) // room for the second one, which ends at once, beside upgrades
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR2)
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		signal.Notify(signals, syscall.SIGHUP)
	}
	// Without this a reader of stderr that went away would end the proxy with it. To
	// ignore the signal would have every process ignore it that is started from here.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	p := Program{
		Args:       os.Args[1:],
		Stdout:     os.Stdout,
		Stderr:     os.Stderr,
		Signals:    signals,
		Executable: executable(),
		Name:       os.Args[0],
	}
	if err := p.takeOver(); err != nil {
		fmt.Fprintln(os.Stderr, "rosproxy:", config.OneLine(err.Error()))
		os.Exit(exitUsage)
	}
	os.Exit(p.Run(context.Background()))
}

// takeOver takes what the process was started with beside its arguments.
func (p *Program) takeOver() (err error) {
	p.Activated = activation.Files(true) // before the environment is read: it takes its variables out
	p.Predecessor, p.Env, err = handover.Inherit(os.Environ())
	if err != nil {
		return err
	}
	p.Parent = upgrade.FindParent(p.Env)
	if os.Getenv("NOTIFY_SOCKET") != "" {
		p.Notify = notify
	}
	p.Watchdog, err = daemon.SdWatchdogEnabled(false)
	return err
}

func notify(state string) error {
	_, err := daemon.SdNotify(false, state)
	return err
}

// executable is the path by which the process was started; empty when it
// cannot be told. Not that of the file that runs, which an upgrade replaces.
func executable() string {
	path, err := exec.LookPath(os.Args[0])
	if err != nil {
		return ""
	}
	if path, err = filepath.Abs(path); err != nil {
		return ""
	}
	return path
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
