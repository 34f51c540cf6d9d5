package workloads

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/rosproxy/rosproxy/bench/internal/load"
	"github.com/rosproxy/rosproxy/bench/internal/peers"
	"github.com/rosproxy/rosproxy/bench/internal/results"
)

const (
	cutTime    = "cut"
	cutByFence = "connections that it cut"
)

// burden is what rosproxy has to do when a failover comes.
type burden struct {
	master  load.Kind
	clients load.Spec // Count 0: as many as are held

	// begin begins what is under way when the failover comes, after some time and
	// up to within later; end returns when it is over. None: the clients are burden enough.
	after, within time.Duration
	begin         func(ctx context.Context, p *peers.Proxy) (end func() error)
}

// fences are failovers that come while there is much else to do.
func fences() []*Workload {
	of := func(name, title, about string, u burden) *Workload {
		return &Workload{
			Name: name, Title: title,
			About: about + " The failover: one write to Consul (a dev agent) that makes another instance the master. The fence is rosproxy's own word: from its store until each shard has seen it; " +
				"and so is the cut, until the last connection is closed. The clients are new for each of 50.",
			Peers:  []string{peers.Rosproxy},
			Units:  [][2]string{{fence, "us"}, {cutTime, "ms"}, {cutByFence, ""}},
			Checks: []results.Check{{Figure: fence, Limit: 2000, Worst: true}},
			Run: func(ctx context.Context, b *Bench, peer string) (Samples, error) {
				return fenceUnder(ctx, b, peer, u)
			},
			Limit: 3 * time.Minute, Consul: true,
		}
	}
	held := load.Spec{Kind: load.Hold, Request: 64, Response: 64}
	closing := load.Spec{Kind: load.Exchange, Request: 64, Response: 64, Rate: 1000} // who ends when the other side has
	return []*Workload{
		of("fence-bulk", "Failover while 64 bulk streams run", "64 clients send without end.",
			burden{master: load.Discard, clients: load.Spec{Kind: load.Send, Count: 64}}),
		of("fence-listed", "Failover while 8,000 connections are listed", "`GET /connections` is asked without end.",
			burden{load.Echo, held, 0, 50 * time.Millisecond, listAll}),
		of("fence-killed", "Failover while 8,000 connections are killed", "`DELETE /connections` is under way: what it has not reset yet the failover cuts.",
			burden{load.Echo, held, 0, 150 * time.Millisecond, killAll}),
		of("fence-drained", "Failover while 8,000 connections are drained",
			"They make 1,000 round trips a second together. A drain ends them one by one, by FIN, in the last 300 ms before its deadline: what it has not ended yet the failover cuts.",
			burden{load.Echo, closing, drainTime - drainTime/5, drainTime / 5, drainAll}),
	}
}

// drainTime is the deadline of the drain that a failover comes into; connections
// are ended in the last fifth before it.
const drainTime = 1500 * time.Millisecond

func listAll(ctx context.Context, p *peers.Proxy) (end func() error) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		for {
			if err := p.ListConnections(ctx); err != nil {
				if ctx.Err() != nil {
					err = nil
				}
				done <- err
				return
			}
		}
	}()
	return func() error {
		cancel()
		return <-done
	}
}

func killAll(ctx context.Context, p *peers.Proxy) (end func() error) {
	done := make(chan error, 1)
	go func() { done <- p.KillConnections(ctx) }()
	return func() error { return <-done }
}

func drainAll(ctx context.Context, p *peers.Proxy) (end func() error) {
	err := p.Drain(ctx, drainTime)
	return func() error {
		if err != nil {
			return err
		}
		return p.Undrain(ctx)
	}
}

// fenceUnder makes failovers one after the other, each under u.
func fenceUnder(ctx context.Context, b *Bench, peer string, u burden) (Samples, error) {
	agent, err := b.Dev(ctx)
	if err != nil {
		return nil, err
	}
	r, err := b.newRig(ctx)
	if err != nil {
		return nil, err
	}
	defer r.close()
	candidates, err := r.candidatesOf(ctx, agent, load.Spec{Kind: u.master, Request: 64, Response: 64})
	if err != nil {
		return nil, err
	}
	if err := r.start(ctx, peer, peers.Options{Consul: agent.HTTP}); err != nil {
		return nil, err
	}
	if err := r.proxy.AwaitMasters(ctx, setUpPatience); err != nil {
		return nil, err
	}
	out := Samples{}
	for i := range b.Elections {
		e := election{agent: agent, from: candidates[i%2], to: candidates[(i+1)%2]}
		f, err := r.failUnder(ctx, u, e)
		if err != nil {
			return out, fmt.Errorf("failover %d: %w", i+1, err)
		}
		out[fence] = append(out[fence], f.FenceUS)
		out[cutTime] = append(out[cutTime], f.CutMS)
		out[cutByFence] = append(out[cutByFence], float64(f.Dropped))
	}
	return out, nil
}

// failUnder makes one failover under u.
func (r *rig) failUnder(ctx context.Context, u burden, e election) (*peers.Failover, error) {
	before, err := r.proxy.LastFailover(ctx)
	if err != nil {
		return nil, err
	}
	w, err := load.Start(ctx)
	if err != nil {
		return nil, err
	}
	defer w.Stop()
	s := u.clients
	if s.Count == 0 {
		s.Count = r.bench.Held
	}
	clients, err := w.Open(r.proxy.Address, s)
	if err != nil {
		return nil, err
	}
	if _, err := clients.Await(ctx, setUpPatience, func(now *load.Stats) bool {
		return now.Live >= s.Count && (s.Kind != load.Hold || now.Served >= s.Count)
	}); err != nil {
		return nil, err
	}
	if err := sleep(ctx, r.bench.WarmUp); err != nil {
		return nil, err
	}
	end := func() error { return nil }
	if u.begin != nil {
		end = u.begin(ctx, r.proxy)
	}
	if err := sleep(ctx, u.after+time.Duration(rand.Int64N(int64(u.within)+1))); err != nil {
		return nil, err
	}
	if _, _, err := e.write(ctx); err != nil {
		return nil, err
	}
	f, err := r.proxy.AwaitFailover(ctx, before, cutPatience)
	if err != nil {
		return nil, err
	}
	return f, end()
}
