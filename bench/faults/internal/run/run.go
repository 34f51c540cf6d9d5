package run

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/rosproxy/rosproxy/bench/faults/internal/box"
)

// Options are what a run is given.
type Options struct {
	Rosproxy, Consul string // programs
	Seed             uint64
	Duration         time.Duration // 0: as many as Failovers says
	Failovers        int           // 0: as long as Duration says
	Report           string        // file for the table; empty: none
	Only             string        // kinds whose names begin so; empty: all
}

// Run makes a world and goes round after round. A violation does not end it. It must be in
// a box.
func Run(ctx context.Context, o Options, out io.Writer) (*Table, error) {
	kinds := selected(o.Only)
	if len(kinds) == 0 {
		return nil, fmt.Errorf("no kind of fault begins with %q", o.Only)
	}
	began := time.Now()
	w, err := NewWorld(o, box.Folder())
	if err != nil {
		return nil, err
	}
	defer w.Close()
	t := &Table{Seed: o.Seed}
	planner := Planner{seed: o.Seed, kinds: kinds}
	fmt.Fprintf(out, "seed %d; everything runs after %v\n", o.Seed, time.Since(began).Round(time.Millisecond))
	rounds := time.Now()
	for n := 0; ctx.Err() == nil; n++ {
		if o.Duration > 0 && time.Since(rounds) >= o.Duration || o.Failovers > 0 && t.sum().Failovers >= o.Failovers {
			break
		}
		p := planner.Plan(n)
		fmt.Fprintln(out, p)
		start := time.Now()
		result, err := w.Round(p)
		t.add(result)
		for _, v := range result.Violations {
			fmt.Fprintf(out, "VIOLATION in round %d, %s: %s\n", n, p.Kind.Name, v)
		}
		t.Took = time.Since(rounds)
		if err != nil {
			return t, err
		}
		if result.Stale > time.Second {
			fmt.Fprintf(out, "         a report of a life that is over was there for %v when all was well\n", result.Stale.Round(time.Millisecond))
		}
		fmt.Fprintf(out, "         took %v; cut %d, carried %d, %d requests, await-fence %v, longest gap %v\n",
			time.Since(start).Round(time.Millisecond), result.Cut, result.Carried, result.Requests, result.Await.Round(time.Millisecond), result.Gap.Round(time.Millisecond))
	}
	return t, nil
}

func selected(only string) []*Kind {
	var some []*Kind
	for _, k := range Kinds() {
		if strings.HasPrefix(k.Name, only) {
			some = append(some, k)
		}
	}
	return some
}
