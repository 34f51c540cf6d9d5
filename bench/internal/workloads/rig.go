package workloads

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/rosproxy/rosproxy/bench/internal/load"
	"github.com/rosproxy/rosproxy/bench/internal/peers"
)

// rig is the set-up of one run: clients, a proxy and masters, each in processes of its own.
type rig struct {
	bench   *Bench
	number  int
	dir     string
	clients *load.Worker
	masters *load.Worker
	extra   []*load.Worker
	proxy   *peers.Proxy
}

// newRig starts the load workers.
func (b *Bench) newRig(ctx context.Context) (*rig, error) {
	var err error
	if b.place, err = peers.Place(); err != nil {
		return nil, err
	}
	b.rigs++
	r := &rig{bench: b, number: b.rigs, dir: filepath.Join(b.Dir, fmt.Sprint(b.rigs))}
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make a directory for the run: %w", err)
	}
	var failed [2]error
	r.clients, failed[0] = load.Start(ctx)
	r.masters, failed[1] = load.Start(ctx)
	if err := errors.Join(failed[:]...); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// worker starts another load worker, for load that must not wait behind the first one's.
func (r *rig) worker(ctx context.Context) (*load.Worker, error) {
	w, err := load.Start(ctx)
	if err == nil {
		r.extra = append(r.extra, w)
	}
	return w, err
}

func (r *rig) close() {
	// Clients first: a proxy that ends would have them all see it.
	for _, w := range append([]*load.Worker{r.clients, r.masters}, r.extra...) {
		if w != nil {
			w.Stop()
		}
	}
	if r.proxy != nil {
		r.proxy.Stop()
	}
	_ = os.RemoveAll(r.dir)
}

// masterAddress is one that no earlier run has used, nor any other process that
// measures here, so that what its connections have left in TIME_WAIT takes no
// port from this one. The port is
// that of sync workers, and like that of any server below those for clients.
func (r *rig) masterAddress(i int) string {
	n := mastersOfARun*r.number + i
	return fmt.Sprintf("127.%d.%d.%d:7800", 1+r.bench.place, n/250%250, 2+n%250)
}

// mastersOfARun is the most that a run has.
const mastersOfARun = 2 * electedLabels

// master makes the masters' worker listen at an address of its own.
func (r *rig) master(i int, s load.Spec) (*load.Group, error) {
	return r.masters.Listen(r.masterAddress(i), s)
}

// start starts the peer in front of what o says.
func (r *rig) start(ctx context.Context, peer string, o peers.Options) (err error) {
	o.Dir = r.dir
	if binary, ok := r.bench.Rosproxy[peer]; ok {
		peer, o.Rosproxy = peers.Rosproxy, binary
	}
	if o.User != nil {
		if err := os.Chown(r.dir, int(o.User.Uid), int(o.User.Gid)); err != nil {
			return fmt.Errorf("give the run's directory away: %w", err)
		}
	}
	r.proxy, err = peers.Start(ctx, peer, o)
	return err
}

// nobody is a user without privileges.
func nobody() *syscall.Credential { return &syscall.Credential{Uid: 65534, Gid: 65534} }

// setUpPatience is how long all connections may take to be established.
const setUpPatience = 15 * time.Second

// awaitLive waits until all connections of g, which is whose, are there.
func awaitLive(ctx context.Context, whose string, g *load.Group, count int) error {
	_, err := g.Await(ctx, setUpPatience, func(s *load.Stats) bool { return s.Live >= count })
	if err != nil {
		return fmt.Errorf("wait for %d connections of %s: %w", count, whose, err)
	}
	return nil
}

// window is what was counted between two moments.
type window struct {
	*load.Stats
	seconds float64
	cpu     time.Duration // of the proxy
	waited  time.Duration // of its thread that waited longest for a CPU
}

// measure lets the load warm up, and counts for a while what g does.
func (r *rig) measure(ctx context.Context, g *load.Group) (window, error) {
	return r.measureFor(ctx, g, r.bench.Measure)
}

func (r *rig) measureFor(ctx context.Context, g *load.Group, d time.Duration) (window, error) {
	if err := sleep(ctx, r.bench.WarmUp); err != nil {
		return window{}, err
	}
	began, err := g.Mark(0)
	if err != nil {
		return window{}, err
	}
	waitsBefore, err := r.proxy.Waits()
	if err != nil {
		return window{}, err
	}
	before, err := r.proxy.CPU()
	if err != nil {
		return window{}, err
	}
	if err := sleep(ctx, d); err != nil {
		return window{}, err
	}
	after, err := r.proxy.CPU()
	if err != nil {
		return window{}, err
	}
	waits, err := r.proxy.Waits()
	if err != nil {
		return window{}, err
	}
	s, err := g.Stats()
	if err != nil {
		return window{}, err
	}
	if s.Failed > 0 {
		return window{}, fmt.Errorf("%d connections broke", s.Failed)
	}
	return window{Stats: s, seconds: float64(s.At-began.At) / 1e9, cpu: after - before, waited: longest(waitsBefore, waits)}, nil
}

// longest is the most that one thread's wait has grown.
func longest(before, after map[int]time.Duration) time.Duration {
	var most time.Duration
	for thread, wait := range after {
		most = max(most, wait-before[thread])
	}
	return most
}

// sleep waits, at most until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
