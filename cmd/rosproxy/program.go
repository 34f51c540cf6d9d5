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
)

// What the program exits with.
const (
	exitOK     = 0 // drained, or nothing was wrong
	exitFailed = 1 // failed at run time, or check found a fault
	exitUsage  = 2 // bad usage or configuration
)

// Program is one run of rosproxy with all that it takes from its process, so
// that a test can run the whole of it.
type Program struct {
	Args    []string // without the program's name
	Env     []string // NAME=VALUE
	Stdout  io.Writer
	Stderr  io.Writer
	Signals <-chan os.Signal // SIGUSR2 upgrades; of the others the first drains and exits, the second ends at once; nil: none

	Executable string                   // what an upgrade starts; empty: not known
	Name       string                   // by which it is started, its argument zero; empty: Executable
	Inherited  inheritance              // listening sockets, and who served on them
	Notify     func(state string) error // tells the service manager, as sd_notify(3) does; nil: there is none
	Watchdog   time.Duration            // how often Notify must be told that all is well; 0: never
}

func (p Program) name() string { return cmp.Or(p.Name, p.Executable) }

// Run runs the command that Args name, until it is done, and answers the exit
// code. The end of ctx ends it at once, without a drain.
func (p Program) Run(ctx context.Context) int {
	invocation, err := parseArgs(p.Args, p.Env, p.Stdout)
	if err != nil {
		return p.usage(err)
	}
	switch invocation.command {
	case commandHelp: // has been printed
		return exitOK
	case commandVersion:
		fmt.Fprintln(p.Stdout, "rosproxy", buildVersion())
		return exitOK
	}
	config, err := loadConfig(invocation.settings)
	if err != nil {
		return p.usage(err)
	}
	log, stopLog := startLog(config.Log, p.Stderr)
	defer stopLog()
	source, err := newSource(config, log)
	if err != nil {
		return p.usage(err)
	}
	if invocation.command == commandCheck {
		return check(ctx, config, source, p.Stdout)
	}
	return p.serve(ctx, config, source, log)
}

// usage prints the one line that a bad configuration is worth.
func (p Program) usage(err error) int {
	fmt.Fprintln(p.Stderr, "rosproxy:", oneLine(err.Error()))
	return exitUsage
}

// serve runs the proxy and logs what it failed with.
func (p Program) serve(ctx context.Context, config Config, source masterSource, log zerolog.Logger) int {
	// A shard under load keeps its place in Go's scheduler while it waits for
	// events. One more is for all the rest: who must cut must not queue.
	cpus := runtime.GOMAXPROCS(0)
	config.Proxy.Shards = cmp.Or(config.Proxy.Shards, cpus)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(max(cpus, config.Proxy.Shards+1)))
	if err := run(ctx, config, source, p, log); err != nil {
		log.Error().Str("component", "main").Err(err).Msg("failed")
		return exitFailed
	}
	return exitOK
}
