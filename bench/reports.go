package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/rosproxy/rosproxy/bench/internal/consul"
)

// measureReports prints what processes that keep fence reports cost the leader of
// three Consul servers, beyond what it uses without them.
func measureReports(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("reports", flag.ContinueOnError)
	n := f.Int("processes", 200, "how many report")
	ttl := f.Duration("ttl", 20*time.Second, "the TTL of their reports: they write every fifth of it")
	during := f.Duration("for", time.Minute, "how long, with and without them")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 || *n < 1 || *ttl < time.Second || *during < time.Second {
		return errors.New("reports: want a process at least, and times of 1s at least")
	}
	return withServers(ctx, 1, func(servers *consul.Servers) error {
		idle, err := servers.Load(ctx, *during)
		if err != nil {
			return err
		}
		reporting, stop := context.WithCancel(ctx)
		defer stop()
		beats := servers.Report(reporting, *n, *ttl)
		time.Sleep(*ttl / 5) // all have begun
		before := beats.Count()
		load, err := servers.Load(ctx, *during)
		if err != nil {
			return err
		}
		made := beats.Count() - before
		stop()
		if err := beats.Wait(); err != nil {
			return err
		}
		print := func(what string, l consul.Load) {
			fmt.Printf("%-28s leader %5.1f %% of a core, all servers %5.1f %%, %6.1f commits a second\n", what, l.Leader, l.All, l.Commits)
		}
		print("without reports:", idle)
		print(fmt.Sprintf("%d processes, TTL %v:", *n, *ttl), load)
		fmt.Printf("%.1f reports a second; each costs the leader %.2f ms of CPU, and all servers %.2f ms\n", float64(made)/during.Seconds(),
			(load.Leader-idle.Leader)*10*during.Seconds()/float64(made), (load.All-idle.All)*10*during.Seconds()/float64(made))
		return nil
	})
}
