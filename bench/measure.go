package main

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/rosproxy/rosproxy/bench/internal/consul"
	"github.com/rosproxy/rosproxy/bench/internal/results"
	"github.com/rosproxy/rosproxy/bench/internal/workloads"
)

// measureAll runs the rounds of each workload: every peer once, then every
// peer again, so that what changes on the machine changes for all of them.
func measureAll(ctx context.Context, s settings, dir string, chosen []*workloads.Workload, r *results.Run) error {
	agents := &consuls{root: s.root, dir: dir}
	defer agents.stop()
	b := &workloads.Bench{
		Dir: dir, Rosproxy: s.binaries, WarmUp: s.warmUp, Measure: s.measure,
		Elections: elections(s.rounds), Held: s.held, GiveBack: 10 * time.Second,
		AllElections: 50, Idle: s.idle, Starts: 5,
		Dev: agents.agent("dev", func(ctx context.Context, path, dir string) (*consul.Agent, error) {
			return consul.StartDev(ctx, path, dir)
		}),
		Server: agents.agent("server", func(ctx context.Context, path, dir string) (*consul.Agent, error) {
			return consul.StartServer(ctx, path, dir)
		}),
		Cluster: agents.agent("cluster", func(ctx context.Context, path, dir string) (*consul.Agent, error) {
			return consul.StartCluster(ctx, path, dir, 3)
		}),
	}
	if s.quick {
		b.Elections, b.AllElections, b.Starts, b.GiveBack = 2, 4, 1, time.Second
	}
	p := progress{began: r.Began}
	for _, w := range chosen {
		p.total += len(w.Peers) * w.Rounds(s.rounds)
	}
	for _, w := range chosen {
		result := w.Result()
		r.Workloads = append(r.Workloads, result)
		if err := measureOne(ctx, b, w, w.Rounds(s.rounds), result, &p); err != nil {
			return err
		}
		agents.stop() // it uses CPU even when nobody asks it for anything
	}
	return nil
}

// progress is how far a run of the benchmark is.
type progress struct {
	began       time.Time
	done, total int
}

func measureOne(ctx context.Context, b *workloads.Bench, w *workloads.Workload, rounds int, result *results.Workload, p *progress) error {
	for round := range rounds {
		for _, peer := range w.Peers {
			p.done++
			fmt.Printf("[%3d/%d %5s] %-17s round %d/%d %-9s ", p.done, p.total, time.Since(p.began).Round(time.Second), w.Name, round+1, rounds, peer)
			samples, err := runOnce(ctx, b, w, peer)
			if ctx.Err() != nil {
				return fmt.Errorf("the run was ended: %w", context.Cause(ctx))
			}
			result.Add(peer, samples) // also what was measured before something failed
			if err != nil {
				result.Fail(peer, err.Error())
				fmt.Println("FAILED:", err)
				continue
			}
			fmt.Println(brief(w, samples))
		}
	}
	return nil
}

func runOnce(ctx context.Context, b *workloads.Bench, w *workloads.Workload, peer string) (workloads.Samples, error) {
	limit := w.Limit
	if limit == 0 {
		limit = 60 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return w.Run(ctx, b, peer)
}

// elections in one run of a peer make 50 in a full run.
func elections(rounds int) int { return int(math.Ceil(50 / float64(max(rounds, 5)))) }

// brief is one round in a line: the first of its figures, where there are many.
func brief(w *workloads.Workload, s workloads.Samples) string {
	var parts []string
	for _, u := range w.Units[:min(len(w.Units), 6)] {
		if v := s[u[0]]; len(v) > 0 {
			parts = append(parts, fmt.Sprintf("%s %s %s", u[0], results.Number(results.Summarize(v).Median), u[1]))
		}
	}
	return strings.Join(parts, ", ")
}
