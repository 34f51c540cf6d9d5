package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rosproxy/rosproxy/bench/internal/results"
)

// runBench runs the benchmark.
func runBench(ctx context.Context, args []string) error {
	s, err := parseSettings(args)
	if err != nil {
		return err
	}
	chosen, err := s.chosen()
	if err != nil {
		return err
	}
	var former *results.Run
	if s.add {
		if former, err = results.Load(s.out); err != nil {
			return fmt.Errorf("add to the report that is there: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	if err := prepare(ctx, &s, chosen); err != nil {
		return err
	}
	facts, err := machine(ctx, s)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "rosproxy-bench-")
	if err != nil {
		return fmt.Errorf("make a directory for the run: %w", err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // a proxy that runs as nobody is to get at its files
		return err
	}
	if err := shareBinaries(&s, dir); err != nil {
		return err
	}
	r := &results.Run{Machine: facts, Command: "make bench", Began: time.Now(), Rounds: s.rounds}
	if len(args) > 0 {
		r.Command = "bench run " + strings.Join(args, " ")
	}
	if err := measureAll(ctx, s, dir, chosen, r); err != nil {
		return err
	}
	r.Took = time.Since(r.Began)
	fmt.Print("\n", results.Text(r))
	return s.save(r, former)
}

// save writes the report, if s asks for one, with what former has of other workloads; nil: it has none.
func (s settings) save(r, former *results.Run) error {
	if s.out == "" {
		return nil
	}
	if former != nil {
		former.Add(r)
		r = former
	}
	if err := results.Save(r, s.out); err != nil {
		return err
	}
	fmt.Println("written:", filepath.Join(s.out, results.ReportFile))
	return nil
}
