// Faults proves by fault what rosproxy guarantees: several instances, three
// servers of Consul, masters that nobody but rosproxy fences, and clients that
// never rest, each on a host of its own, and one failover after the other under
// one fault after the other.
//
//	faults -duration 1h -seed 7          an hour of it
//	faults -failovers 300                until so many labels have failed over
//	faults -only "agent" -duration 1m    faults whose names begin so
//	faults -failovers 300 -report F      and the table into a file
//
// The seed makes the plan: the faults, their order, whom they hit and when. It is
// printed, and the same seed gives the same plan. After each round it checks
// what has to hold, prints what does not, and at the end a table by kind of
// fault. The exit status is 1 when there was a violation, 2 when the proof
// could not be carried out.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/rosproxy/rosproxy/bench/faults/internal/box"
	"github.com/rosproxy/rosproxy/bench/faults/internal/run"
	"github.com/rosproxy/rosproxy/bench/faults/internal/toy"
)

func main() { os.Exit(start()) }

func start() int {
	if len(os.Args) > 1 && os.Args[1] == toy.Arg {
		if err := toy.Run(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "master:", err)
			return 1
		}
		return 0
	}
	o, err := options(os.Args[1:])
	if err != nil {
		return 2
	}
	if !box.Inside() {
		code, err := box.Enter()
		if err != nil {
			fmt.Fprintln(os.Stderr, "faults:", err)
			return 2
		}
		return code
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return prove(ctx, o)
}

// prove runs inside the box.
func prove(ctx context.Context, o run.Options) int {
	if err := box.Settle(); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		return 2
	}
	table, err := run.Run(ctx, o, os.Stdout)
	if table != nil {
		fmt.Printf("\n%s\nseed %d, %d rounds in %v\n", table.Markdown(), table.Seed, table.Rounds(), table.Took.Round(time.Second))
	}
	if err == nil && o.Report != "" {
		err = os.WriteFile(o.Report, []byte(report(table)), 0o644)
	}
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "faults:", err)
		return 2
	case len(table.Violations()) > 0:
		return 1
	default:
		return 0
	}
}

// options reads the flags.
func options(args []string) (run.Options, error) {
	o := run.Options{}
	flags := flag.NewFlagSet("faults", flag.ContinueOnError)
	flags.StringVar(&o.Rosproxy, "rosproxy", "bin/rosproxy", "the `program` to prove")
	flags.StringVar(&o.Consul, "consul", "bin/consul", "the Consul `program`")
	flags.Uint64Var(&o.Seed, "seed", uint64(time.Now().UnixNano())%1e6, "of the plan; default: by the clock")
	flags.DurationVar(&o.Duration, "duration", 0, "how long")
	flags.IntVar(&o.Failovers, "failovers", 0, "end after so many failovers of a label")
	flags.StringVar(&o.Only, "only", "", "faults whose names begin so")
	flags.StringVar(&o.Report, "report", "", "`file` that the table is written to, with machine, date and command")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.Duration == 0 && o.Failovers == 0 {
		o.Duration = 5 * time.Minute
	}
	for _, p := range []*string{&o.Rosproxy, &o.Consul} {
		full, err := filepath.Abs(*p)
		if err == nil {
			_, err = os.Stat(full)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "faults: find what to run:", err)
			return o, err
		}
		*p = full
	}
	return o, nil
}
