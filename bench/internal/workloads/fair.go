package workloads

import (
	"context"
	"errors"
	"fmt"

	"github.com/rosproxy/rosproxy/bench/internal/load"
	"github.com/rosproxy/rosproxy/bench/internal/peers"
	"github.com/rosproxy/rosproxy/bench/internal/results"
)

const (
	without = "p99 without"
	with    = "p99 with"
	waiting = "busiest thread without a CPU, with"
	carried = "carried for the disturber"
)

// disturbance is what others may not suffer from.
type disturbance struct {
	atMaster load.Kind
	client   load.Spec
}

// fairness is what some connections do to the others.
func fairness() []*Workload {
	of := func(name, title, about string, others load.Spec, d disturbance) *Workload {
		return &Workload{
			Name: name, Title: title, About: about,
			Peers:  []string{peers.Rosproxy, peers.HAProxy, peers.Nginx, peers.Direct},
			Units:  [][2]string{{without, "us"}, {with, "us"}, {waiting, "% of the time"}, {carried, "MB/s"}},
			Checks: []results.Check{{Figure: with, Other: without, Limit: 1.2}},
			Run: func(ctx context.Context, b *Bench, peer string) (Samples, error) {
				quiet, err := measureOthers(ctx, b, peer, others, nil)
				if err != nil {
					return nil, fmt.Errorf("without: %w", err)
				}
				disturbed, err := measureOthers(ctx, b, peer, others, &d)
				if err != nil {
					return nil, fmt.Errorf("with: %w", err)
				}
				s := Samples{without: {quiet.p99}, with: {disturbed.p99}, carried: {disturbed.carried}}
				if peer != peers.Direct {
					s[waiting] = []float64{disturbed.waited}
				}
				return s, nil
			},
			Times: 2, // for the reason that exchanges have
		}
	}
	pingPongs := load.Spec{Kind: load.Exchange, Count: 1000, Request: 64, Response: 64, Rate: 10000}
	const pings = "p99 of 1,000 connections that make 10,000 round trips a second together, evenly spread, with and without "
	many := of("bulk-32-among", "32 bulk streams among 1,000 ping-pongs",
		pings+"32 that send without end.", pingPongs,
		disturbance{load.Discard, load.Spec{Kind: load.Send, Count: 32}})
	many.Checks = []results.Check{ // they take all the CPUs there are, whoever the proxy is
		{Figure: with, Against: []string{peers.HAProxy}, Limit: 0.5},
		{Figure: with, Against: []string{peers.HAProxy}, Limit: 1, Worst: true},
	}
	return []*Workload{
		of("slow-reader", "A slow reader among fast ones",
			"p99 of 32 KB requests and responses over 64 connections, with and without a 65th that is sent to without end and takes 64 KB every 50 ms.",
			load.Spec{Kind: load.Exchange, Count: 64, Request: 32 << 10, Response: 32 << 10},
			disturbance{load.Source, load.Spec{Kind: load.Receive, Count: 1, Rate: 20, Chunk: 64 << 10}}),
		of("bulk-among", "One bulk stream among 1,000 ping-pongs",
			pings+"one that sends without end, which takes all the CPUs there are.", pingPongs,
			disturbance{load.Discard, load.Spec{Kind: load.Send, Count: 1}}),
		of("stream-among", "One stream of 2 Gbit/s among 1,000 ping-pongs",
			pings+"one that sends 125 KB 2,000 times a second, which leaves CPU to spare: what the proxy does to the others, without what the machine does.", pingPongs,
			disturbance{load.Discard, load.Spec{Kind: load.Send, Count: 1, Rate: 2000, Chunk: 125_000}}),
		many,
	}
}

// outcome is what was seen of the others, and of what disturbs them.
type outcome struct {
	p99     float64 // microseconds
	waited  float64 // how much of the time, in percent, the thread of the proxy that waited most was ready to run and had no CPU
	carried float64 // megabytes a second of the disturbance
}

// measureOthers measures exchanges, with the disturbance if there is one. That
// has a listener, a master and load workers of its own: what is shared is the
// proxy.
func measureOthers(ctx context.Context, b *Bench, peer string, s load.Spec, d *disturbance) (outcome, error) {
	r, err := b.newRig(ctx)
	if err != nil {
		return outcome{}, err
	}
	defer r.close()
	master, err := r.master(0, load.Spec{Kind: load.Echo, Request: s.Request, Response: s.Response, ID: 1})
	if err != nil {
		return outcome{}, err
	}
	o := peers.Options{To: master.Address}
	if d != nil {
		if o.AlsoTo, err = r.otherMaster(ctx, d.atMaster); err != nil {
			return outcome{}, err
		}
	}
	if err := r.start(ctx, peer, o); err != nil {
		return outcome{}, err
	}
	clients, err := r.clients.Open(r.proxy.Address, s)
	if err != nil {
		return outcome{}, err
	}
	if err := errors.Join(awaitLive(ctx, "the clients", clients, s.Count), awaitLive(ctx, "the master", master, s.Count)); err != nil {
		return outcome{}, err
	}
	carried := func() (float64, error) { return 0, nil }
	if d != nil {
		if carried, err = r.disturb(ctx, d.client); err != nil {
			return outcome{}, err
		}
	}
	w, err := r.measure(ctx, clients)
	if err != nil {
		return outcome{}, err
	}
	if w.Exchanges == 0 {
		return outcome{}, errors.New("no exchange was completed")
	}
	rate, err := carried()
	if err != nil {
		return outcome{}, err
	}
	return outcome{p99: micro(w.Latency.P99), waited: 100 * w.waited.Seconds() / w.seconds, carried: rate}, nil
}

func (r *rig) otherMaster(ctx context.Context, k load.Kind) (string, error) {
	w, err := r.worker(ctx)
	if err != nil {
		return "", err
	}
	g, err := w.Listen(r.masterAddress(1), load.Spec{Kind: k})
	if err != nil {
		return "", err
	}
	return g.Address, nil
}

// disturb begins the disturbance; carried tells its megabytes a second since then.
func (r *rig) disturb(ctx context.Context, s load.Spec) (carried func() (float64, error), err error) {
	w, err := r.worker(ctx)
	if err != nil {
		return nil, err
	}
	g, err := w.Open(r.proxy.Also, s)
	if err != nil {
		return nil, err
	}
	if err := awaitLive(ctx, "the disturbance", g, s.Count); err != nil {
		return nil, err
	}
	began, err := g.Stats()
	if err != nil {
		return nil, err
	}
	return func() (float64, error) {
		now, err := g.Stats()
		if err != nil {
			return 0, err
		}
		return float64(now.Bytes-began.Bytes) / float64(now.At-began.At) * 1e3, nil // bytes a nanosecond are GB/s
	}, nil
}
