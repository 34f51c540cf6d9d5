package workloads

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/rosproxy/rosproxy/bench/internal/load"
	"github.com/rosproxy/rosproxy/bench/internal/peers"
	"github.com/rosproxy/rosproxy/bench/internal/results"
)

const (
	cpuPerGB   = "CPU per GB"
	throughput = "throughput"
)

var everyone = []string{peers.Rosproxy, peers.HAProxy, peers.Nginx, peers.Naive, peers.Direct}

// With a floor, where a target is about the kernel more than about the proxy.
var (
	everyoneAndFloor     = []string{peers.Rosproxy, peers.HAProxy, peers.Nginx, peers.Floor, peers.Naive, peers.Direct}
	everyoneAndBulkFloor = []string{peers.Rosproxy, peers.HAProxy, peers.Nginx, peers.BulkFloor, peers.Naive, peers.Direct}
)

// copyingSink is how many bytes one call of a sink takes that copies.
const copyingSink = 256 << 10

// bulk is streams that never pause, into a sink that throws them away, and into
// one that copies.
func bulk() []*Workload {
	var all []*Workload
	for _, direction := range []string{"up", "down"} {
		for _, streams := range []int{4, 64} {
			all = append(all, &Workload{
				Name:  fmt.Sprintf("bulk-%s-%d", direction, streams),
				Title: fmt.Sprintf("Bulk %s, %d streams", direction, streams),
				About: bulkGoes[direction],
				Peers: everyone,
				Units: bulkUnits,
				Checks: []results.Check{
					{Figure: cpuPerGB, Against: []string{peers.HAProxy}, Limit: 0.33},
					{Figure: throughput, Against: []string{peers.HAProxy}, AtLeast: true, Limit: 1.3},
				},
				Run: func(ctx context.Context, b *Bench, peer string) (Samples, error) {
					return streamBulk(ctx, b, peer, direction == "up", streams, 0, peers.Options{})
				},
			})
		}
	}
	for _, direction := range []string{"up", "down"} {
		for _, streams := range []int{4, 64} {
			all = append(all, &Workload{
				Name:  fmt.Sprintf("bulk-copied-%s-%d", direction, streams),
				Title: fmt.Sprintf("Bulk %s into a sink that copies, %d streams", direction, streams),
				About: bulkGoes[direction] + " Whoever receives copies it into memory, 256 KB a call, as a real peer does; without that a sink outruns what any peer takes.",
				Peers: everyoneAndBulkFloor,
				Units: bulkUnits,
				Checks: []results.Check{
					{Figure: cpuPerGB, Against: []string{peers.HAProxy}, Limit: 0.27},
					{Figure: cpuPerGB, Against: []string{peers.BulkFloor}, Limit: 1.10},
					{Figure: throughput, Against: []string{peers.HAProxy}, AtLeast: true, Limit: 1.6},
				},
				Run: func(ctx context.Context, b *Bench, peer string) (Samples, error) {
					return streamBulk(ctx, b, peer, direction == "up", streams, copyingSink, peers.Options{})
				},
			})
		}
	}
	return all
}

var (
	bulkUnits = [][2]string{{cpuPerGB, "s/GB"}, {throughput, "GB/s"}}
	bulkGoes  = map[string]string{"up": "Clients send to the master as fast as it goes.", "down": "The master sends to clients as fast as it goes."}
)

// streamBulk measures streams in one direction, by what arrives at their end,
// where each call copies so many bytes; 0: none.
func streamBulk(ctx context.Context, b *Bench, peer string, up bool, streams, copied int, o peers.Options) (Samples, error) {
	r, err := b.newRig(ctx)
	if err != nil {
		return nil, err
	}
	defer r.close()
	atMaster, atClient := load.Source, load.Receive
	if up {
		atMaster, atClient = load.Discard, load.Send
	}
	master, err := r.master(0, load.Spec{Kind: atMaster, Copy: copied})
	if err != nil {
		return nil, err
	}
	o.To = master.Address
	if err := r.start(ctx, peer, o); err != nil {
		return nil, err
	}
	clients, err := r.clients.Open(r.proxy.Address, load.Spec{Kind: atClient, Count: streams, Copy: copied})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(awaitLive(ctx, "the clients", clients, streams), awaitLive(ctx, "the master", master, streams)); err != nil {
		return nil, err
	}
	end := clients
	if up {
		end = master
	}
	w, err := r.measure(ctx, end)
	if err != nil {
		return nil, err
	}
	if w.Bytes == 0 {
		return nil, errors.New("no byte arrived")
	}
	gb := float64(w.Bytes) / 1e9
	s := Samples{throughput: {gb / w.seconds}}
	if r.proxy.IsProcess() {
		s[cpuPerGB] = []float64{w.cpu.Seconds() / gb}
	}
	return s, nil
}

const (
	asRoot  = "as root"
	asNoone = "without privileges"
)

// unprivileged is many streams for a user whose pipes are limited.
func unprivileged() *Workload {
	const streams = 2000
	return &Workload{
		Name:  "unprivileged",
		Title: "Bulk up, 2,000 streams, as a user without privileges",
		About: "The proxy runs as root, and as nobody, for whom the kernel limits the pages of all pipes together (fs.pipe-user-pages-soft).",
		Peers: []string{peers.Rosproxy, peers.HAProxy, peers.Naive},
		Units: [][2]string{{asRoot, "GB/s"}, {asNoone, "GB/s"}, {cpuPerGB + " " + asNoone, "s/GB"}},
		Checks: []results.Check{
			{Figure: asNoone, Other: asRoot, AtLeast: true, Limit: 0.8},
		},
		Run: func(ctx context.Context, b *Bench, peer string) (Samples, error) {
			if os.Geteuid() != 0 {
				return nil, errors.New("needs root, to run the proxy as root and as nobody")
			}
			root, err := streamBulk(ctx, b, peer, true, streams, 0, peers.Options{})
			if err != nil {
				return nil, fmt.Errorf("as root: %w", err)
			}
			noone, err := streamBulk(ctx, b, peer, true, streams, 0, peers.Options{User: nobody()})
			if err != nil {
				return nil, fmt.Errorf("as nobody: %w", err)
			}
			return Samples{asRoot: root[throughput], asNoone: noone[throughput], cpuPerGB + " " + asNoone: noone[cpuPerGB]}, nil
		},
	}
}
