// Bench measures rosproxy side by side with what operators would pick instead.
//
//	bench run                       everything, and writes RESULTS.md and its plots
//	bench run -workload pingpong    only workloads whose names begin so, and writes nothing
//	bench run -workload idle -add   the same, and puts them into RESULTS.md beside the others
//	bench run -quick                one short round of each, to see that all works
//	bench render                    RESULTS.md and plots anew from results.json
//	bench list                      the workloads
//	bench leaderless                how long three Consul servers make no write after their leader's end
//	bench reports                   what fence reports cost three Consul servers
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/rosproxy/rosproxy/bench/internal/load"
	"github.com/rosproxy/rosproxy/bench/internal/peers"
	"github.com/rosproxy/rosproxy/bench/internal/workloads"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	switch {
	case err == nil:
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run does what the first argument says.
func run(ctx context.Context, args []string) error {
	command := "run"
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	switch command {
	case "run":
		return runBench(ctx, args)
	case "render":
		return renderAgain(args)
	case "list":
		for _, w := range workloads.All() {
			fmt.Printf("%-18s %s\n", w.Name, w.Title)
		}
		return nil
	case "leaderless":
		return measureLeaderless(ctx, args)
	case "reports":
		return measureReports(ctx, args)
	case load.WorkerArg: // one of the processes that a round is made of
		return load.Work(os.Stdin, os.Stdout)
	case peers.NaiveArg:
		if len(args) != 2 {
			return errors.New("naive wants an address to listen on and that of the master")
		}
		return peers.RunNaive(args[0], args[1])
	default:
		return fmt.Errorf("unknown command %q: run, render, list, leaderless or reports", command)
	}
}
