// Command rosdemo shows on one machine what rosproxy is for.
//
// It starts a Consul (or its double), three simulated sync workers that elect
// a master, rosproxy, and clients that write numbered records through it. Then
// it kills the master, brings it back, freezes the next one, upgrades rosproxy
// by draining, and counts what became of the records. Its exit status is 0
// when no acknowledged record was lost, no connection stayed on a master that
// was replaced, and the upgrade broke none.
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
)

// options are the command line.
type options struct {
	Consul   string        `default:"auto" help:"auto: CONSUL_HTTP_ADDR if set, else a consul on PATH or in bin, else the in-memory double; double: the double; or the path of a consul binary."`
	Clients  int           `default:"24" help:"Clients that write."`
	Deadline time.Duration `default:"2m" help:"Give up after this long."`
	KeepLogs bool          `help:"Keep the logs of all processes; they are kept anyway when something fails."`
}

// Validate names the first option that cannot work; kong calls it.
func (o *options) Validate() error {
	if o.Clients < 1 || o.Clients > 1000 {
		return fmt.Errorf("--clients %d: want 1 to 1000", o.Clients)
	}
	if o.Deadline <= 0 {
		return fmt.Errorf("--deadline %v: want more than 0", o.Deadline)
	}
	return nil
}

// The main goroutine starts all processes, and the kernel ends a process with
// the thread that started it (Pdeathsig): it must be the main thread.
func init() { runtime.LockOSThread() }

func main() { os.Exit(command(os.Args[1:])) }

// command runs the program and answers its exit status.
func command(args []string) int {
	var o options
	parser, err := kong.New(&o, kong.Name("rosdemo"), kong.Description("A failover, a hang and an upgrade, watched."))
	if err == nil {
		_, err = parser.Parse(args)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "rosdemo:", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends at once
	ctx, cancel := context.WithTimeoutCause(ctx, o.Deadline, fmt.Errorf("gave up after %v", o.Deadline))
	defer cancel()

	scr := newScreen(os.Stdout)
	passed, err := run(ctx, o, scr)
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
