package workloads

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/rosproxy/rosproxy/bench/internal/consul"
	"github.com/rosproxy/rosproxy/bench/internal/load"
	"github.com/rosproxy/rosproxy/bench/internal/peers"
	"github.com/rosproxy/rosproxy/bench/internal/results"
)

const (
	memoryPerConn = "RSS per connection"
	filesPerConn  = "descriptors per connection"
)

// idle is connections that have had one exchange and are silent.
func idle() *Workload {
	return &Workload{
		Name:  "idle",
		Title: "Idle connections",
		About: "8,000 connections that have had one round trip each; io.Copy, which would need more descriptors than there are, holds 2,500. " +
			"What 16 connections had made the process allocate before is not counted.",
		Peers: []string{peers.Rosproxy, peers.HAProxy, peers.Nginx, peers.Naive},
		Units: [][2]string{{memoryPerConn, "B"}, {filesPerConn, ""}},
		Checks: []results.Check{
			{Figure: memoryPerConn, Limit: 256},
			{Figure: filesPerConn, Limit: 2.01},
		},
		Run: holdIdle,
	}
}

func holdIdle(ctx context.Context, b *Bench, peer string) (Samples, error) {
	r, err := b.newRig(ctx)
	if err != nil {
		return nil, err
	}
	defer r.close()
	master, err := r.master(0, load.Spec{Kind: load.Echo, Request: 64, Response: 64, ID: 1})
	if err != nil {
		return nil, err
	}
	if err := r.start(ctx, peer, peers.Options{To: master.Address}); err != nil {
		return nil, err
	}
	if _, err := r.hold(ctx, 16, false); err != nil {
		return nil, err
	}
	memory, files, err := r.footprint()
	if err != nil {
		return nil, err
	}
	count := b.Held
	if peer == peers.Naive {
		count = min(count, 2500)
	}
	if _, err := r.hold(ctx, count, false); err != nil {
		return nil, err
	}
	if err := sleep(ctx, b.WarmUp); err != nil {
		return nil, err
	}
	memoryThen, filesThen, err := r.footprint()
	if err != nil {
		return nil, err
	}
	return Samples{
		memoryPerConn: {float64(memoryThen-memory) / float64(count)},
		filesPerConn:  {float64(filesThen-files) / float64(count)},
	}, nil
}

func (r *rig) footprint() (memory int64, files int, err error) {
	memory, err = r.proxy.Memory()
	if err == nil {
		files, err = r.proxy.Descriptors()
	}
	return memory, files, err
}

// hold opens connections and returns when each has had its answer.
func (r *rig) hold(ctx context.Context, count int, back bool) (*load.Group, error) {
	return r.holdAt(ctx, r.proxy.Address, count, back)
}

// holdAt is hold at one of several listeners.
func (r *rig) holdAt(ctx context.Context, address string, count int, back bool) (*load.Group, error) {
	g, err := r.clients.Open(address, load.Spec{Kind: load.Hold, Count: count, Request: 64, Response: 64, Return: back})
	if err != nil {
		return nil, err
	}
	if _, err := g.Await(ctx, setUpPatience, func(s *load.Stats) bool { return s.Served >= count }); err != nil {
		return nil, fmt.Errorf("hold %d connections: %w", count, err)
	}
	return g, nil
}

const (
	lastClosed  = "last closed"
	fence       = "fence"
	servedAgain = "all served again"
)

// cut is the end of all connections by order.
func cut() *Workload {
	return &Workload{
		Name:  "cut",
		Title: "Cut of 8,000 live connections",
		About: "From the order until the last client has seen its connection end. The order: for rosproxy the one write to Consul (a dev agent) that makes " +
			"another instance the master; for HAProxy `shutdown sessions server` on its admin socket. " +
			"The fence is rosproxy's own word: from its store until each shard has seen it.",
		Peers: []string{peers.Rosproxy, peers.HAProxy},
		Units: [][2]string{{lastClosed, "ms"}, {fence, "us"}},
		Checks: []results.Check{
			{Figure: lastClosed, Against: []string{peers.HAProxy}, Limit: 0.9},
			{Figure: fence, Limit: 1000},
		},
		Run: func(ctx context.Context, b *Bench, peer string) (Samples, error) {
			return cutAll(ctx, b, peer, false)
		},
		Consul: true,
	}
}

// storm is a cut whose victims all come back at once.
func storm() *Workload {
	return &Workload{
		Name:  "storm",
		Title: "Reconnect storm: 8,000 clients are cut and come back at once",
		About: "The order as in the cut; until every client that was cut has connected again and has had one round trip.",
		Peers: []string{peers.Rosproxy, peers.HAProxy},
		Units: [][2]string{{servedAgain, "ms"}},
		Checks: []results.Check{
			{Figure: servedAgain, Against: []string{peers.HAProxy}, Limit: 0.9},
		},
		Run: func(ctx context.Context, b *Bench, peer string) (Samples, error) {
			return cutAll(ctx, b, peer, true)
		},
		Consul: true,
	}
}

// cutPatience is how long a cut, or its storm, may take.
const cutPatience = 20 * time.Second

func cutAll(ctx context.Context, b *Bench, peer string, back bool) (Samples, error) {
	clock, err := load.NewClock()
	if err != nil {
		return nil, err
	}
	r, err := b.newRig(ctx)
	if err != nil {
		return nil, err
	}
	defer r.close()
	order, err := r.startCuttable(ctx, peer)
	if err != nil {
		return nil, err
	}
	g, err := r.hold(ctx, b.Held, back)
	if err != nil {
		return nil, err
	}
	if err := sleep(ctx, b.WarmUp); err != nil {
		return nil, err
	}
	if _, err := g.Mark(0); err != nil {
		return nil, err
	}
	at := clock.Now()
	if err := order(ctx); err != nil {
		return nil, err
	}
	s, err := g.Await(ctx, cutPatience, func(s *load.Stats) bool {
		return s.Closed >= b.Held && (!back || s.Served >= b.Held)
	})
	if err != nil {
		return nil, fmt.Errorf("wait for the cut: %w", err)
	}
	if back {
		return Samples{servedAgain: {milli(s.LastServed - at)}}, nil
	}
	out := Samples{lastClosed: {milli(s.LastClosed - at)}}
	if _, ok := b.Rosproxy[peer]; ok {
		f, err := r.proxy.LastFailover(ctx)
		if err != nil {
			return nil, err
		}
		if f == nil || f.Dropped != b.Held {
			return nil, fmt.Errorf("rosproxy's last failover was %+v; want one that dropped %d", f, b.Held)
		}
		out[fence] = []float64{f.FenceUS}
	}
	return out, nil
}

func milli(nanoseconds int64) float64 { return float64(nanoseconds) / 1e6 }

// startCuttable starts a peer, and returns what orders it to cut.
func (r *rig) startCuttable(ctx context.Context, peer string) (func(context.Context) error, error) {
	if peer == peers.HAProxy {
		master, err := r.echo(0, 1)
		if err != nil {
			return nil, err
		}
		if err := r.start(ctx, peer, peers.Options{To: master.Address}); err != nil {
			return nil, err
		}
		return func(context.Context) error { return r.proxy.ShutdownSessions() }, nil
	}
	agent, err := r.bench.Dev(ctx)
	if err != nil {
		return nil, err
	}
	candidates, err := r.candidates(ctx, agent)
	if err != nil {
		return nil, err
	}
	if err := r.start(ctx, peer, peers.Options{Consul: agent.HTTP}); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return agent.Register(ctx, candidates[1], true) }, nil
}

func (r *rig) echo(i int, id byte) (*load.Group, error) {
	return r.master(i, load.Spec{Kind: load.Echo, Request: 64, Response: 64, ID: id})
}

// candidates makes two masters, whose answers are 1 and 2, and the first the
// only one that Consul knows of as such.
func (r *rig) candidates(ctx context.Context, agent *consul.Agent) ([2]consul.Candidate, error) {
	return r.candidatesOf(ctx, agent, load.Spec{Kind: load.Echo, Request: 64, Response: 64})
}

// candidatesOf makes two masters of any kind.
func (r *rig) candidatesOf(ctx context.Context, agent *consul.Agent, s load.Spec) ([2]consul.Candidate, error) {
	var c [2]consul.Candidate
	errs := []error{agent.Forget(ctx)}
	for i := range c {
		s.ID = byte(i + 1)
		g, err := r.master(i, s)
		if err != nil {
			return c, err
		}
		c[i] = consul.Candidate{ID: fmt.Sprintf("sync-%d", i+1), Address: netip.MustParseAddrPort(g.Address)}
		errs = append(errs, agent.Register(ctx, c[i], i == 0))
	}
	return c, errors.Join(errs...)
}
