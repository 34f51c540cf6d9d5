package main

import (
	"flag"
	"path/filepath"

	"github.com/rosproxy/rosproxy/bench/internal/results"
)

// renderAgain writes the report anew from the samples of an earlier run.
func renderAgain(args []string) error {
	f := flag.NewFlagSet("bench render", flag.ContinueOnError)
	dir := f.String("out", "", "directory of results.json; bench when empty")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *dir == "" {
		root, err := findRoot()
		if err != nil {
			return err
		}
		*dir = filepath.Join(root, "bench")
	}
	r, err := results.Load(*dir)
	if err != nil {
		return err
	}
	return results.Render(r, *dir)
}
