// Command rosdemo shows on one machine what rosproxy is for.
//
// It starts a Consul (or its double), three simulated sync workers that elect
// a master, rosproxy, and clients that write numbered records through it. Then
// it kills the master, brings it back, freezes the next one, upgrades rosproxy
// by draining, and counts what became of the records. Its exit status is 0
// when no acknowledged record was lost, no connection stayed on a master that
// was replaced, and the upgrade broke none.
//
// rosdemo patroni shows the same with two nodes of PostgreSQL under Patroni and
// a real Consul, where it is the leader's Patroni that is killed. rosdemo dr shows
// two data centres, one of which is lost, comes back and is rebuilt.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/rosproxy/rosproxy/cmd/internal/reaper"
)

// commandLine is which demo is shown.
type commandLine struct {
	Workers options         `cmd:"" default:"withargs" help:"Sync workers: a failover, a hang and an upgrade."`
	Patroni postgresOptions `cmd:"" help:"PostgreSQL under Patroni: the same story with real databases."`
	DR      recoveryOptions `cmd:"" name:"dr" help:"Disaster recovery: a data centre is lost, and another takes over."`
}

// recoveryOptions are those of the demo of disaster recovery.
type recoveryOptions struct {
	Clients  int           `default:"24" help:"Clients that write."`
	Deadline time.Duration `default:"5m" help:"Give up after this long."`
	KeepLogs bool          `help:"Keep the logs of all processes; they are kept anyway when something fails."`
}

// Validate names the first option that cannot work; kong calls it.
func (o *recoveryOptions) Validate() error { return validate(o.Clients, o.Deadline) }

// postgresOptions are those of the demo of PostgreSQL.
type postgresOptions struct {
	Clients  int           `default:"16" help:"Clients that write."`
	Deadline time.Duration `default:"5m" help:"Give up after this long."`
	KeepLogs bool          `help:"Keep the logs of all processes; they are kept anyway when something fails."`
}

// Validate names the first option that cannot work; kong calls it.
func (o *postgresOptions) Validate() error { return validate(o.Clients, o.Deadline) }

// options are those of the demo of sync workers.
type options struct {
	Consul   string        `default:"auto" help:"auto: CONSUL_HTTP_ADDR if set, else a consul on PATH or in bin, else the in-memory double; double: the double; or the path of a consul binary."`
	Clients  int           `default:"24" help:"Clients that write."`
	Deadline time.Duration `default:"2m" help:"Give up after this long."`
	KeepLogs bool          `help:"Keep the logs of all processes; they are kept anyway when something fails."`
}

// Validate names the first option that cannot work; kong calls it.
func (o *options) Validate() error { return validate(o.Clients, o.Deadline) }

func validate(clients int, deadline time.Duration) error {
	const most = 1000
	if clients < 1 || clients > most {
		return fmt.Errorf("--clients %d: want 1 to %d", clients, most)
	}
	if deadline <= 0 {
		return fmt.Errorf("--deadline %v: want more than 0", deadline)
	}
	return nil
}

// The main goroutine starts all processes, and the kernel ends a process with
// the thread that started it (Pdeathsig): it must be the main thread.
func init() { runtime.LockOSThread() }

func main() {
	reaper.Main()
	os.Exit(command(os.Args[1:]))
}

// command runs the program and answers its exit status.
func command(args []string) int {
	var line commandLine
	var chosen *kong.Context
	parser, err := kong.New(&line, kong.Name("rosdemo"), kong.Description("What rosproxy is for, watched."))
	if err == nil {
		chosen, err = parser.Parse(args)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "rosdemo:", err)
		return 2
	}
	switch chosen.Command() {
	case "patroni":
		o := line.Patroni
		return show(o.Deadline, func(ctx context.Context, scr *screen) (bool, error) { return runPostgres(ctx, o, scr) })
	case "dr":
		o := line.DR
		return show(o.Deadline, func(ctx context.Context, scr *screen) (bool, error) { return runRecovery(ctx, o, scr) })
	}
	o := line.Workers
	return show(o.Deadline, func(ctx context.Context, scr *screen) (bool, error) { return run(ctx, o, scr) })
}

// show shows a demo and answers the exit status.
func show(deadline time.Duration, demo func(context.Context, *screen) (passed bool, err error)) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends at once
	ctx, cancel := context.WithTimeoutCause(ctx, deadline, fmt.Errorf("gave up after %v", deadline))
	defer cancel()

	scr := newScreen(os.Stdout)
	passed, err := demo(ctx, scr)
	scr.close()
	switch {
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "rosdemo: interrupted")
		return 1
	case err != nil:
		fmt.Fprintln(os.Stderr, "rosdemo:", err)
		return 1
	case !passed:
		return 1
	}
	return 0
}
