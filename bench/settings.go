package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rosproxy/rosproxy/bench/internal/peers"
	"github.com/rosproxy/rosproxy/bench/internal/workloads"
)

// settings of a run.
type settings struct {
	root     string
	workload string
	peer     string
	rounds   int
	held     int
	measure  time.Duration
	warmUp   time.Duration
	idle     time.Duration
	quick    bool
	out      string
	add      bool
	limit    time.Duration
	binaries map[string]string // rosproxy's, by the name it goes by
}

func parseSettings(args []string) (settings, error) {
	s := settings{binaries: map[string]string{}}
	f := flag.NewFlagSet("bench run", flag.ContinueOnError)
	f.StringVar(&s.root, "root", "", "the repository; found above the working directory when empty")
	f.StringVar(&s.workload, "workload", "", "only workloads whose names begin so, separated by commas")
	f.StringVar(&s.peer, "peer", "", "only these peers, separated by commas")
	f.IntVar(&s.rounds, "rounds", 5, "how often each peer is measured at each workload")
	f.DurationVar(&s.measure, "measure", 600*time.Millisecond, "how long one measurement counts")
	f.DurationVar(&s.warmUp, "warmup", 250*time.Millisecond, "how long the load runs before that")
	f.DurationVar(&s.idle, "idle", 30*time.Second, "how long the CPU of a process without clients is measured")
	f.IntVar(&s.held, "connections", 8000, "how many the workloads have that hold many")
	f.BoolVar(&s.quick, "quick", false, "one short round of each, to see that all works")
	f.StringVar(&s.out, "out", "", "directory for RESULTS.md, results.json and the plots; for a full run bench, else none")
	f.BoolVar(&s.add, "add", false, "put the workloads of this run into the report that is there, in place of their former figures")
	f.DurationVar(&s.limit, "limit", 40*time.Minute, "the whole run ends after this")
	f.Func("also", "NAME=PATH: another binary of rosproxy to measure beside this one; repeatable", func(v string) error {
		name, path, ok := strings.Cut(v, "=")
		if !ok || name == "" || path == "" {
			return fmt.Errorf("%q is not NAME=PATH", v)
		}
		if peers.IsRival(name) {
			return fmt.Errorf("%q is what another peer is called", name)
		}
		s.binaries[name] = path
		return nil
	})
	if err := f.Parse(args); err != nil {
		return s, err
	}
	if f.NArg() > 0 {
		return s, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if s.quick {
		s.rounds, s.measure, s.warmUp, s.idle = 1, 200*time.Millisecond, 100*time.Millisecond, 2*time.Second
	}
	if err := s.validate(); err != nil {
		return s, err
	}
	if s.root == "" {
		root, err := findRoot()
		if err != nil {
			return s, err
		}
		s.root = root
	}
	if s.out == "" && (s.add || s.workload == "" && s.peer == "" && !s.quick) {
		s.out = filepath.Join(s.root, "bench")
	}
	return s, nil
}

func (s settings) validate() error {
	if s.held < 1 || s.held > mostHeld {
		return fmt.Errorf("-connections %d: want 1 to %d", s.held, mostHeld)
	}
	if s.rounds < 1 || s.measure <= 0 || s.idle <= 0 || s.warmUp < 0 {
		return errors.New("-rounds, -measure and -idle are to be positive")
	}
	return nil
}

// mostHeld is what HAProxy's maxconn leaves room for, beside the load of another label.
const mostHeld = 8000

// findRoot walks up from the working directory to the repository.
func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "cmd", "rosproxy")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("find the repository: it is not above the working directory; see -root")
		}
	}
}

// chosen are the workloads that s asks for, each with its peers.
func (s settings) chosen() ([]*workloads.Workload, error) {
	var out []*workloads.Workload
	all := workloads.All()
	for _, a := range strings.Split(s.workload, ",") {
		if a == "" && s.workload != "" || !slices.ContainsFunc(all, func(w *workloads.Workload) bool { return isAsked(w.Name, a, all) }) {
			return nil, fmt.Errorf("no workload's name begins with %q; see bench list", a)
		}
	}
	var known []string
	for _, w := range all {
		if !isAsked(w.Name, s.workload, all) {
			continue
		}
		var others []string
		for name := range s.binaries {
			if name != peers.Rosproxy {
				others = append(others, name)
			}
		}
		slices.Sort(others)
		w.Peers = slices.Concat(w.Peers[:1], others, w.Peers[1:]) // rosproxy comes first
		known = append(known, w.Peers...)
		if s.peer != "" {
			w.Peers = slices.DeleteFunc(w.Peers, func(p string) bool { return !slices.Contains(strings.Split(s.peer, ","), p) })
		}
		if len(w.Peers) > 0 {
			out = append(out, w)
		}
	}
	for _, p := range strings.Split(s.peer, ",") {
		if p != "" && !slices.Contains(known, p) {
			return nil, fmt.Errorf("none of the workloads asked for is for a peer %q; it may be one of %q", p, slices.Compact(slices.Sorted(slices.Values(known))))
		}
	}
	return out, nil
}

// isAsked reports whether one of the names asked for is name, or is the
// beginning of it and of no workload the whole.
func isAsked(name, asked string, all []*workloads.Workload) bool {
	return slices.ContainsFunc(strings.Split(asked, ","), func(a string) bool {
		if slices.ContainsFunc(all, func(w *workloads.Workload) bool { return w.Name == a }) {
			return name == a
		}
		return strings.HasPrefix(name, a)
	})
}
