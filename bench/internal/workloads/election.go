package workloads

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/rosproxy/rosproxy/bench/internal/consul"
	"github.com/rosproxy/rosproxy/bench/internal/load"
	"github.com/rosproxy/rosproxy/bench/internal/peers"
	"github.com/rosproxy/rosproxy/bench/internal/results"
)

const (
	firstByte = "first byte from the new master"
	ofWrite   = "the write itself"
)

// electors are how many clients see each election.
const electors = 16

// elections are masters elected in Consul.
func elections() []*Workload {
	units := [][2]string{{lastClosed, "ms"}, {firstByte, "ms"}, {ofWrite, "ms"}, {fence, "us"}}
	about := "16 clients come back as soon as they are cut. From sending the one write to Consul that names the new master, until the last connection to the old one " +
		"has ended, and until the first byte of the new one's has come. The old one gives its tag up just before in half of the elections, and just after in the others."
	return []*Workload{
		{
			Name: "election", Title: "Election in Consul (a dev agent)",
			About: about + " HAProxy follows by DNS SRV, asked for each second; before each election there is a pause of up to a second, so that they fall anywhere between two of its questions.",
			Peers: []string{peers.Rosproxy, peers.HAProxy}, Units: units,
			Checks: []results.Check{
				{Figure: lastClosed, Against: []string{peers.HAProxy}, Limit: 1.0 / 40},
				{Figure: firstByte, Against: []string{peers.HAProxy}, Limit: 1.0 / 40},
			},
			Run: func(ctx context.Context, b *Bench, peer string) (Samples, error) {
				return elect(ctx, b, peer, b.Dev)
			},
			Limit: 2 * time.Minute, Consul: true,
		},
		{
			Name: "election-cluster", Title: "Election in Consul (three servers, a client agent)",
			About: about + " Writes and questions both go to the client agent.",
			Peers: []string{peers.Rosproxy}, Units: units,
			Checks: []results.Check{
				{Figure: lastClosed, Limit: 20}, {Figure: lastClosed, Limit: 100, Worst: true},
				{Figure: firstByte, Limit: 20}, {Figure: firstByte, Limit: 100, Worst: true},
			},
			Run: func(ctx context.Context, b *Bench, peer string) (Samples, error) {
				return elect(ctx, b, peer, b.Cluster)
			},
			Limit: 2 * time.Minute, Consul: true,
		},
	}
}

func elect(ctx context.Context, b *Bench, peer string, start func(context.Context) (*consul.Agent, error)) (Samples, error) {
	agent, err := start(ctx)
	if err != nil {
		return nil, err
	}
	r, err := b.newRig(ctx)
	if err != nil {
		return nil, err
	}
	defer r.close()
	candidates, err := r.candidates(ctx, agent)
	if err != nil {
		return nil, err
	}
	if err := r.start(ctx, peer, peers.Options{Consul: agent.HTTP, ConsulDNS: agent.DNS}); err != nil {
		return nil, err
	}
	clients, err := r.hold(ctx, electors, true)
	if err != nil {
		return nil, err
	}
	out := Samples{}
	pause := 100 * time.Millisecond
	if peer == peers.HAProxy {
		pause = time.Second
	}
	for i := range b.Elections {
		if err := sleep(ctx, time.Duration(rand.Int64N(int64(pause)))); err != nil {
			return nil, err
		}
		e := election{agent: agent, clients: clients, from: candidates[i%2], to: candidates[(i+1)%2], id: byte((i+1)%2 + 1), untagFirst: i/2%2 == 0}
		if err := e.run(ctx, out); err != nil {
			return nil, fmt.Errorf("election %d: %w", i+1, err)
		}
		if _, ok := b.Rosproxy[peer]; ok {
			f, err := r.proxy.LastFailover(ctx)
			if err != nil {
				return nil, err
			}
			out[fence] = append(out[fence], f.FenceUS)
		}
	}
	return out, nil
}

// election is one change of master.
type election struct {
	agent      *consul.Agent
	clients    *load.Group
	from, to   consul.Candidate
	id         byte // of the answers of to
	untagFirst bool
}

func (e election) run(ctx context.Context, out Samples) error {
	if _, err := e.clients.Mark(e.id); err != nil {
		return err
	}
	at, written, err := e.write(ctx)
	if err != nil {
		return err
	}
	s, err := e.clients.Await(ctx, cutPatience, func(s *load.Stats) bool { return s.Served >= electors })
	if err != nil {
		return err
	}
	out[ofWrite] = append(out[ofWrite], milli(written-at))
	out[lastClosed] = append(out[lastClosed], milli(s.LastClosed-at))
	out[firstByte] = append(out[firstByte], milli(s.FirstServed-at))
	return nil
}

// write makes to the master. It returns when the write that names it began and
// when it had been made, by load.Clock.
func (e election) write(ctx context.Context) (at, written int64, err error) {
	clock, err := load.NewClock()
	if err != nil {
		return 0, 0, err
	}
	if e.untagFirst {
		if err := e.agent.Register(ctx, e.from, false); err != nil {
			return 0, 0, err
		}
	}
	at = clock.Now()
	if err := e.agent.Register(ctx, e.to, true); err != nil {
		return 0, 0, err
	}
	written = clock.Now()
	if !e.untagFirst {
		err = e.agent.Register(ctx, e.from, false)
	}
	return at, written, err
}
