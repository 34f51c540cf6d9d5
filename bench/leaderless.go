package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/rosproxy/rosproxy/bench/internal/consul"
)

// measureLeaderless prints how long three Consul servers make no write after their
// leader's end: what the lease of a fence report must outlast.
func measureLeaderless(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("leaderless", flag.ContinueOnError)
	n := f.Int("n", 30, "how often")
	fault := f.String("fault", "kill", "what becomes of the leader: kill or freeze")
	multiplier := f.Int("raft-multiplier", 5, "Consul's performance.raft_multiplier: 5 by default, 1 as its manual advises for production")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 || *n < 1 || *multiplier < 1 {
		return errors.New("leaderless: want -n and -raft-multiplier of 1 at least, and nothing else")
	}
	return withServers(ctx, *multiplier, func(servers *consul.Servers) error {
		var all []time.Duration
		for i := range *n {
			took, err := servers.Leaderless(ctx, *fault)
			if err != nil {
				return fmt.Errorf("%s %d of %d: %w", *fault, i+1, *n, err)
			}
			all = append(all, took)
			fmt.Printf("%s %d: %v\n", *fault, i+1, took.Round(time.Millisecond))
		}
		slices.Sort(all)
		fmt.Printf("%s, raft_multiplier %d, %d times: median %v, least %v, most %v\n", *fault, *multiplier, *n,
			all[len(all)/2].Round(time.Millisecond), all[0].Round(time.Millisecond), all[len(all)-1].Round(time.Millisecond))
		return nil
	})
}

// withServers runs what needs three servers, whose files are gone in the end.
func withServers(ctx context.Context, multiplier int, use func(*consul.Servers) error) error {
	root, err := findRoot()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return fmt.Errorf("make a directory for consul: %w", err)
	}
	defer os.RemoveAll(dir)
	servers, err := consul.StartServers(ctx, consulBinary(root), dir, 3, multiplier)
	if err != nil {
		return err
	}
	defer servers.Stop()
	return use(servers)
}
