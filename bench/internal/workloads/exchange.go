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
	cpuPerTrip = "CPU per round trip"
	tripRate   = "round trips"
	p50        = "p50"
	p99        = "p99"
)

// exchanges are requests and responses, one at a time on each connection, the
// next as soon as the last is answered.
func exchanges() []*Workload {
	var all []*Workload
	for _, c := range []struct {
		name, title       string
		connections       int
		request, response int
		ofFloor           float64 // the most CPU that it may take, of the floor's; 0: no target
	}{
		{"pingpong-1", "Ping-pong of 64 bytes, 1 connection", 1, 64, 64, 1.20},
		{"pingpong-64", "Ping-pong of 64 bytes, 64 connections", 64, 64, 64, 1.05},
		{"pingpong-1000", "Ping-pong of 64 bytes, 1,000 connections", 1000, 64, 64, 1.05},
		{"request-4k", "Requests and responses of 4 KB, 64 connections", 64, 4 << 10, 4 << 10, 0},
		{"request-32k", "Requests and responses of 32 KB, 64 connections", 64, 32 << 10, 32 << 10, 0},
	} {
		checks := []results.Check{
			{Figure: cpuPerTrip, Against: rivals, Limit: 1},
			{Figure: p99, Against: rivals, Limit: 1},
		}
		if c.ofFloor > 0 {
			checks = append(checks, results.Check{Figure: cpuPerTrip, Against: []string{peers.Floor}, Limit: c.ofFloor})
		}
		all = append(all, &Workload{
			Name: c.name, Title: c.title,
			About:  "Each connection sends its next request as soon as it has its response.",
			Peers:  everyoneAndFloor,
			Units:  [][2]string{{cpuPerTrip, "us"}, {p50, "us"}, {p99, "us"}, {tripRate, "k/s"}},
			Checks: checks,
			Run: func(ctx context.Context, b *Bench, peer string) (Samples, error) {
				return pingPong(ctx, b, peer, load.Spec{Kind: load.Exchange, Count: c.connections, Request: c.request, Response: c.response})
			},
			// On few CPUs p99 is one of two values, by which threads the kernel
			// puts on the same: a median of five would be a matter of luck.
			Times: 2,
		})
	}
	return all
}

func pingPong(ctx context.Context, b *Bench, peer string, s load.Spec) (Samples, error) {
	r, err := b.newRig(ctx)
	if err != nil {
		return nil, err
	}
	defer r.close()
	master, err := r.master(0, load.Spec{Kind: load.Echo, Request: s.Request, Response: s.Response, ID: 1})
	if err != nil {
		return nil, err
	}
	if err := r.start(ctx, peer, peers.Options{To: master.Address}); err != nil {
		return nil, err
	}
	clients, err := r.clients.Open(r.proxy.Address, s)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(awaitLive(ctx, "the clients", clients, s.Count), awaitLive(ctx, "the master", master, s.Count)); err != nil {
		return nil, err
	}
	w, err := r.measure(ctx, clients)
	if err != nil {
		return nil, err
	}
	return exchangeSamples(r, w)
}

func exchangeSamples(r *rig, w window) (Samples, error) {
	if w.Exchanges == 0 {
		return nil, errors.New("no exchange was completed")
	}
	s := Samples{
		p50: {micro(w.Latency.P50)}, p99: {micro(w.Latency.P99)},
		tripRate: {float64(w.Exchanges) / w.seconds / 1e3},
	}
	if r.proxy.IsProcess() {
		s[cpuPerTrip] = []float64{float64(w.cpu.Nanoseconds()) / 1e3 / float64(w.Exchanges)}
	}
	return s, nil
}

func micro(nanoseconds int64) float64 { return float64(nanoseconds) / 1e3 }

const (
	cpuPerConn = "CPU per connection"
	connRate   = "rate"
)

// connects is short connections, and the same with a PROXY header to the master.
func connects() []*Workload {
	const at, size = 32, 64
	short := func(ctx context.Context, b *Bench, peer string, header bool) (Samples, error) {
		r, err := b.newRig(ctx)
		if err != nil {
			return nil, err
		}
		defer r.close()
		master, err := r.master(0, load.Spec{Kind: load.Echo, Request: size, Response: size, ID: 1, Header: header})
		if err != nil {
			return nil, err
		}
		if err := r.start(ctx, peer, peers.Options{To: master.Address, Header: header}); err != nil {
			return nil, err
		}
		clients, err := r.clients.Open(r.proxy.Address, load.Spec{Kind: load.Once, Count: at, Request: size, Response: size})
		if err != nil {
			return nil, err
		}
		w, err := r.measure(ctx, clients)
		if err != nil {
			return nil, err
		}
		s, err := exchangeSamples(r, w)
		if err != nil {
			return nil, err
		}
		return Samples{cpuPerConn: s[cpuPerTrip], connRate: s[tripRate], p99: s[p99]}, nil
	}
	about := fmt.Sprintf("One exchange of %d bytes each; the client closes first. p99 is from connect to the response.", size)
	units := [][2]string{{cpuPerConn, "us"}, {connRate, "k/s"}, {p99, "us"}}
	return []*Workload{{
		Name:  "connect",
		Title: "Connect, one round trip, close; 32 at a time",
		About: about,
		Peers: everyoneAndFloor,
		Units: units,
		Checks: []results.Check{
			{Figure: cpuPerConn, Against: rivals, Limit: 0.95},
			{Figure: cpuPerConn, Against: []string{peers.Floor}, Limit: 1.03},
			{Figure: connRate, Against: rivals, AtLeast: true, Limit: 1.05},
		},
		Run: func(ctx context.Context, b *Bench, peer string) (Samples, error) { return short(ctx, b, peer, false) },
	}, {
		Name:   "connect-header",
		Title:  "The same with a PROXY protocol header to the master",
		About:  about + " The header is of version 1.",
		Peers:  []string{peers.Rosproxy, peers.HAProxy, peers.Nginx},
		Units:  units,
		Checks: []results.Check{{Figure: cpuPerConn, Against: rivals, Limit: 1}},
		Run:    func(ctx context.Context, b *Bench, peer string) (Samples, error) { return short(ctx, b, peer, true) },
	}}
}
