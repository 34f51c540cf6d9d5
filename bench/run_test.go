package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/bench/internal/consul"
	"github.com/rosproxy/rosproxy/bench/internal/load"
	"github.com/rosproxy/rosproxy/bench/internal/peers"
	"github.com/rosproxy/rosproxy/bench/internal/results"
	"github.com/rosproxy/rosproxy/bench/internal/workloads"
)

// The test's own binary is what rounds start.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == load.WorkerArg || os.Args[1] == peers.NaiveArg) {
		if err := run(context.Background(), os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func names(all []*workloads.Workload) []string {
	var out []string
	for _, w := range all {
		out = append(out, w.Name)
	}
	return out
}

func TestWorkloadsAreChosenByNameOrItsBeginning(t *testing.T) {
	for asked, want := range map[string][]string{
		"pingpong-1":   {"pingpong-1"},
		"pingpong":     {"pingpong-1", "pingpong-64", "pingpong-1000"},
		"storm,idle":   {"idle", "storm"},
		"election":     {"election"},
		"bulk-down-64": {"bulk-down-64"},
		"bulk-copied":  {"bulk-copied-up-4", "bulk-copied-up-64", "bulk-copied-down-4", "bulk-copied-down-64"},
	} {
		got, err := settings{workload: asked}.chosen()
		if err != nil || !slices.Equal(names(got), want) {
			t.Errorf("%q: got %v, %v; want %v", asked, names(got), err, want)
		}
	}
	if got, err := (settings{}).chosen(); err != nil || len(got) != len(workloads.All()) {
		t.Errorf("nothing asked for: got %v, %v; want all", names(got), err)
	}
	if got, err := (settings{workload: "tea"}).chosen(); err == nil {
		t.Errorf("unknown workload: got %v; want an error", names(got))
	}
}

func TestPeersAreChosenAndOtherBinariesComeSecond(t *testing.T) {
	s := settings{workload: "idle", binaries: map[string]string{"old": "/x", "rosproxy": "/y"}}
	got, err := s.chosen()
	if err != nil || !slices.Equal(got[0].Peers, []string{"rosproxy", "old", "haproxy", "nginx", "io.Copy"}) {
		t.Errorf("with another binary: got %v, %v; want it after rosproxy", got[0].Peers, err)
	}
	s.peer = "haproxy,old"
	got, err = s.chosen()
	if err != nil || !slices.Equal(got[0].Peers, []string{"old", "haproxy"}) {
		t.Errorf("two peers: got %v, %v; want those", got[0].Peers, err)
	}
}

// Every check must be about a figure that the workload has, or judging panics
// at the end of a run.
func TestChecksAreAboutFiguresThatThereAre(t *testing.T) {
	seen := map[string]bool{}
	for _, w := range workloads.All() {
		if seen[w.Name] {
			t.Errorf("two workloads are called %s", w.Name)
		}
		seen[w.Name] = true
		r := w.Result()
		for _, c := range w.Checks {
			if r.Figure(c.Figure) == nil || c.Other != "" && r.Figure(c.Other) == nil {
				t.Errorf("%s checks %q against %q; want figures it has", w.Name, c.Figure, c.Other)
			}
			for _, p := range c.Against {
				if !slices.Contains(w.Peers, p) {
					t.Errorf("%s compares with %s, which does not run", w.Name, p)
				}
			}
		}
		if w.Peers[0] != "rosproxy" {
			t.Errorf("%s runs %s first; want rosproxy", w.Name, w.Peers[0])
		}
	}
}

func TestSettings(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "cmd", "rosproxy"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(root)
	s, err := parseSettings(nil)
	if err != nil || s.rounds != 5 || filepath.Base(s.out) != "bench" {
		t.Errorf("a full run: got %+v, %v; want 5 rounds, written to bench", s, err)
	}
	for _, args := range [][]string{{"-quick"}, {"-workload", "idle"}, {"-peer", "nginx"}} {
		if s, err := parseSettings(args); err != nil || s.out != "" {
			t.Errorf("%v: got output to %q, %v; want none", args, s.out, err)
		}
	}
	if s, err := parseSettings([]string{"-workload", "idle", "-add"}); err != nil || filepath.Base(s.out) != "bench" || !s.add {
		t.Errorf("-add: got output to %q, %v; want bench", s.out, err)
	}
	if s, err := parseSettings([]string{"-connections", "1000"}); err != nil || s.held != 1000 {
		t.Errorf("-connections: got %d, %v; want 1000", s.held, err)
	}
	if s, err := parseSettings([]string{"-also", "old=/bin/x"}); err != nil || s.binaries["old"] != "/bin/x" {
		t.Errorf("-also: got %v, %v; want old", s.binaries, err)
	}
	for _, args := range [][]string{{"-also", "old"}, {"-also", "nginx=/bin/x"}, {"-rounds", "0"}, {"-measure", "0s"}, {"-connections", "0"}, {"-connections", "8001"}, {"idle"}} {
		if _, err := parseSettings(args); err == nil {
			t.Errorf("%v: got no error; want one", args)
		}
	}
}

func TestNamesThatAreNotKnownAreRefused(t *testing.T) {
	for _, s := range []settings{{workload: "nosuch"}, {workload: "idle,nosuch"}, {workload: "idle,"}, {peer: "nosuch"}, {peer: "nginx,nosuch"}, {workload: "unprivileged", peer: "nginx"}} {
		if chosen, err := s.chosen(); err == nil {
			t.Errorf("workload %q, peer %q: got %d workloads and no error; want one that names what is not known", s.workload, s.peer, len(chosen))
		}
	}
	if chosen, err := (settings{workload: "bulk-up,idle", peer: "nginx"}).chosen(); err != nil || len(chosen) != 3 {
		t.Errorf("bulk-up and idle: got %d, %v; want 3 workloads", len(chosen), err)
	}
}

func TestAFullRunMakesFiftyElections(t *testing.T) {
	for rounds, want := range map[int]int{1: 10, 5: 10, 10: 5, 7: 8} {
		if got := elections(rounds); got != want {
			t.Errorf("elections in one of %d rounds: got %d; want %d", rounds, got, want)
		}
	}
}

func TestLongWorkloadsAreRunOnceForFiveRoundsOfOthers(t *testing.T) {
	for others, want := range map[int]int{1: 1, 5: 1, 9: 1, 10: 2} {
		if got := (&workloads.Workload{Fifth: true}).Rounds(others); got != want {
			t.Errorf("rounds where others have %d: got %d; want %d", others, got, want)
		}
	}
	if got := (&workloads.Workload{Times: 2}).Rounds(5); got != 10 {
		t.Errorf("rounds with two for each of others: got %d; want 10", got)
	}
}

// An old binary that cannot serve 1,000 labels has figures with 100.
func TestWhatWasMeasuredBeforeAFailureIsKept(t *testing.T) {
	w := &workloads.Workload{
		Name: "w", Peers: []string{"rosproxy"}, Units: [][2]string{{"first", "ms"}, {"second", "ms"}},
		Run: func(context.Context, *workloads.Bench, string) (workloads.Samples, error) {
			return workloads.Samples{"first": {7}}, errors.New("refused")
		},
	}
	r := w.Result()
	if err := measureOne(t.Context(), nil, w, 2, r, &progress{}); err != nil {
		t.Fatal(err)
	}
	if got := r.Figure("first").Of("rosproxy"); got.Count != 2 || got.Median != 7 {
		t.Errorf("figure that was measured: got %v; want 7, twice", got)
	}
	if got := r.Figure("second").Of("rosproxy"); got.Count != 0 {
		t.Errorf("figure that was not measured: got %v; want none", got)
	}
	if len(r.Failures) != 1 || r.Failures[0].Times != 2 {
		t.Errorf("failures: got %v; want refused, twice", r.Failures)
	}
}

// runLongEnough runs a workload shortly, and longer when a figure is 0: on a busy
// machine a process may get no CPU in so short a time.
func runLongEnough(t *testing.T, b *workloads.Bench, w *workloads.Workload, peer string) (samples workloads.Samples, err error) {
	for run := *b; ; run.Measure *= 4 {
		samples, err = w.Run(t.Context(), &run, peer)
		nothing := func(values []float64) bool { return slices.Contains(values, 0) }
		if err != nil || run.Measure > 2*time.Second || !slices.ContainsFunc(slices.Collect(maps.Values(samples)), nothing) {
			return samples, err
		}
	}
}

// Runs of the peers that need nothing installed, from end to end.
func TestRunsGiveEveryFigure(t *testing.T) {
	b := &workloads.Bench{Dir: t.TempDir(), WarmUp: 20 * time.Millisecond, Measure: 50 * time.Millisecond, Held: 50}
	chosen, err := settings{workload: "bulk-up-4,bulk-down-4,bulk-copied-up-4,bulk-copied-down-64,pingpong-64,request-32k,connect,slow-reader,stream-among,idle"}.chosen()
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range chosen {
		for _, peer := range []string{peers.Naive, peers.Direct, peers.Floor, peers.BulkFloor} {
			if !slices.Contains(w.Peers, peer) {
				continue
			}
			samples, err := runLongEnough(t, b, w, peer)
			if err != nil {
				t.Errorf("%s of %s: %v", w.Name, peer, err)
				continue
			}
			for _, u := range w.Units {
				v := samples[u[0]]
				if ofProxy := strings.Contains(u[0], "CPU"); peer == peers.Direct && ofProxy {
					if len(v) != 0 {
						t.Errorf("%s of %s: got %s %v; want none without a proxy", w.Name, peer, u[0], v)
					}
				} else if len(v) != 1 || v[0] <= 0 {
					t.Errorf("%s of %s: got %s %v; want one above 0", w.Name, peer, u[0], v)
				}
			}
		}
	}
}

// What rosproxy alone is measured at, or beside those that Debian has to install.
func TestRunsOfRosproxyGiveEveryFigure(t *testing.T) {
	root, err := findRoot()
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(root, "bin", "rosproxy")
	for _, needed := range []string{binary, consulBinary(root)} {
		if _, err := os.Stat(needed); err != nil {
			t.Fatalf("find what is measured: %v; run make build consul", err)
		}
	}
	dir := t.TempDir()
	agents := &consuls{root: root, dir: dir}
	defer agents.stop()
	b := &workloads.Bench{
		Dir: dir, Rosproxy: map[string]string{peers.Rosproxy: binary},
		WarmUp: 20 * time.Millisecond, Measure: 250 * time.Millisecond, Held: 200, Elections: 2,
		Dev: agents.agent("dev", func(ctx context.Context, path, dir string) (*consul.Agent, error) {
			return consul.StartDev(ctx, path, dir)
		}),
	}
	chosen, err := settings{workload: "connect-header,stuck,stuck-bounded,fence"}.chosen()
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range chosen {
		samples, err := w.Run(t.Context(), b, peers.Rosproxy)
		if err != nil {
			t.Errorf("%s: %v", w.Name, err)
			continue
		}
		want := 1
		if strings.HasPrefix(w.Name, "fence") {
			want = b.Elections
		}
		for _, u := range w.Units {
			v := samples[u[0]]
			if len(v) != want {
				t.Errorf("%s: got %s %v; want %d", w.Name, u[0], v, want)
			}
			// The kernel's memory is that of the whole machine, a busy thread need
			// not have waited, and a failover may find nobody left.
			if slices.Contains([]string{"MB", "us", "KB"}, u[1]) && !strings.HasPrefix(u[0], "kernel") && slices.Min(v) <= 0 {
				t.Errorf("%s: got %s %v; want more than 0", w.Name, u[0], v)
			}
		}
	}
}

// A plot that asks for a figure by a wrong name would be left out without a word.
func TestPlotsShowWhatWorkloadsMeasure(t *testing.T) {
	r := &results.Run{}
	for _, w := range workloads.All() {
		result := w.Result()
		for _, f := range result.Figures {
			for i, p := range w.Peers {
				f.Samples[p] = []float64{float64(i + 1)}
			}
		}
		r.Workloads = append(r.Workloads, result)
	}
	dir := t.TempDir()
	if err := results.Save(r, dir); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string][]string{
		"ratios.svg":          {"election: last closed", "connect: rate", "bulk-down-64: throughput"},
		"bulk-cpu.svg":        {"bulk-up-4", "bulk-up-64", "bulk-down-4", "bulk-down-64"},
		"bulk-copied-cpu.svg": {"bulk-copied-up-4", "bulk-copied-down-64", "bulk floor"},
		"bulk-throughput.svg": {"bulk-up-4", "bulk-up-64", "bulk-down-4", "bulk-down-64"},
		"exchange-cpu.svg":    {"pingpong-1", "pingpong-64", "pingpong-1000", "request-4k", "request-32k"},
		"exchange-p99.svg":    {"pingpong-1", "pingpong-64", "pingpong-1000", "request-4k", "request-32k"},
		"failover.svg":        {"cut of 8,000:", "storm of 8,000:", "first byte", "3 Consul servers:"},
		"idle-memory.svg":     {"idle", "io.Copy"},
	} {
		svg, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, label := range want {
			if !strings.Contains(string(svg), ">"+label+"<") {
				t.Errorf("%s does not show %q", file, label)
			}
		}
	}
}
