package workloads

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rosproxy/rosproxy/bench/internal/load"
	"github.com/rosproxy/rosproxy/bench/internal/peers"
	"github.com/rosproxy/rosproxy/bench/internal/proc"
	"github.com/rosproxy/rosproxy/bench/internal/results"
)

const (
	memoryBefore = "RSS before"
	memoryPeak   = "RSS at the peak"
	memoryAfter  = "RSS 10 s after"
	kernelPeak   = "kernel's memory for TCP at the peak"
	takenEach    = "taken from the master for each"
	whileFilling = "p99 while they come"
)

const (
	owedToEach = 4 << 20
	// Buffers of what is around the proxy, small so that most of the kernel's
	// memory is for the proxy: a client that does not read is as a rule far away.
	stuckClientBuffer, stuckMasterBuffer = 4 << 10, 16 << 10
	// boundedBuffer is what --socket-buffer is set to where it is tried.
	boundedBuffer = 16 << 10
)

// stuck is clients that do not read.
func stuck() []*Workload {
	of := func(name, title, about string, all []string, o peers.Options) *Workload {
		return &Workload{
			Name: name, Title: title,
			About: "The master sends 4 MB to each, of which they read nothing; their receive buffers, and the master's send buffers, are of 4 and 16 KB. When no more goes in, the p99 of another " +
				"label's ping-pong (64 connections, 2,000 round trips a second together, 64 bytes) is held against what it was before; memory is looked at every 50 ms, and 10 s after they are gone. " +
				"While they come the machine is busy with the bytes that still fit in: no target. " + about,
			Peers: all,
			Units: [][2]string{
				{memoryBefore, "MB"}, {memoryPeak, "MB"}, {memoryAfter, "MB"}, {kernelPeak, "MB"}, {takenEach, "KB"},
				{without, "us"}, {with, "us"}, {whileFilling, "us"},
			},
			Checks: []results.Check{
				{Figure: memoryPeak, Limit: 64},
				{Figure: memoryAfter, Other: memoryBefore, Limit: 1.5},
				{Figure: with, Other: without, Limit: 2},
			},
			Run: func(ctx context.Context, b *Bench, peer string) (Samples, error) {
				r, err := b.newRig(ctx)
				if err != nil {
					return nil, err
				}
				defer r.close()
				return r.measureStuck(ctx, peer, o)
			},
			Limit: 3 * time.Minute, Fifth: true,
		}
	}
	bounded := of("stuck-bounded", "The same, with `--socket-buffer 16384`", "The kernel takes twice 16 KB for each of the four buffers of a connection.",
		[]string{peers.Rosproxy}, peers.Options{SocketBuffer: boundedBuffer})
	bounded.Checks = append(bounded.Checks, results.Check{Figure: kernelPeak, Limit: 8000 * 8 * boundedBuffer / 1e6})
	return []*Workload{
		of("stuck", "8,000 clients that do not read, 4 MB owed to each", "", []string{peers.Rosproxy, peers.HAProxy, peers.Nginx}, peers.Options{}),
		bounded,
	}
}

func (r *rig) measureStuck(ctx context.Context, peer string, o peers.Options) (Samples, error) {
	pinged, err := r.echo(0, 1)
	if err != nil {
		return nil, err
	}
	owing, err := r.masters.Listen(r.masterAddress(1), load.Spec{Kind: load.Source, Owed: owedToEach, Buffer: stuckMasterBuffer})
	if err != nil {
		return nil, err
	}
	o.To, o.AlsoTo = pinged.Address, owing.Address
	if err := r.start(ctx, peer, o); err != nil {
		return nil, err
	}
	pings, err := r.clients.Open(r.proxy.Address, load.Spec{Kind: load.Exchange, Count: 64, Request: 64, Response: 64, Rate: 2000})
	if err != nil {
		return nil, err
	}
	if err := awaitLive(ctx, "the ping-pong", pings, 64); err != nil {
		return nil, err
	}
	quiet, err := r.measureFor(ctx, pings, r.bench.Measure*4)
	if err != nil {
		return nil, err
	}
	m, err := watchMemory(r.proxy)
	if err != nil {
		return nil, err
	}
	filling, full, sent, err := r.fill(ctx, pings, owing)
	if err := errors.Join(err, m.stop()); err != nil {
		return nil, err
	}
	if err := sleep(ctx, r.bench.GiveBack); err != nil {
		return nil, err
	}
	after, err := r.proxy.Memory()
	if err != nil {
		return nil, err
	}
	return Samples{
		memoryBefore: {float64(m.before) / 1e6}, memoryPeak: {float64(m.most) / 1e6}, memoryAfter: {float64(after) / 1e6},
		kernelPeak: {float64(m.mostKernel-m.kernelBefore) / 1e6}, takenEach: {float64(sent) / 1e3 / float64(r.bench.Held)},
		without: {micro(quiet.Latency.P99)}, with: {micro(full.Latency.P99)}, whileFilling: {micro(filling.Latency.P99)},
	}, nil
}

// fill has clients come that do not read, and lets them go: what the others saw
// while they came and when they were there, and how many bytes were taken from
// the master.
func (r *rig) fill(ctx context.Context, pings, owing *load.Group) (filling *load.Stats, full window, sent uint64, err error) {
	w, err := load.Start(ctx)
	if err != nil {
		return nil, full, 0, err
	}
	defer w.Stop() // its clients go with it
	if _, err := pings.Mark(0); err != nil {
		return nil, full, 0, err
	}
	clients, err := w.Open(r.proxy.Also, load.Spec{Kind: load.Ignore, Count: r.bench.Held, Buffer: stuckClientBuffer})
	if err != nil {
		return nil, full, 0, err
	}
	if err := errors.Join(awaitLive(ctx, "the clients that do not read", clients, r.bench.Held), awaitLive(ctx, "their master", owing, r.bench.Held)); err != nil {
		return nil, full, 0, err
	}
	if sent, err = awaitStandstill(ctx, owing); err != nil {
		return nil, full, 0, err
	}
	if filling, err = pings.Stats(); err != nil {
		return nil, full, 0, err
	}
	if full, err = r.measureFor(ctx, pings, r.bench.Measure*4); err != nil {
		return nil, full, 0, err
	}
	s, err := clients.Stats()
	if err == nil && s.Live < r.bench.Held {
		err = fmt.Errorf("%d of %d clients that do not read were lost", r.bench.Held-s.Live, r.bench.Held)
	}
	return filling, full, sent, err
}

// awaitStandstill waits until g sends hardly a byte in a second more, and
// returns how many it has sent.
func awaitStandstill(ctx context.Context, g *load.Group) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	before := uint64(0)
	for {
		s, err := g.Stats()
		if err != nil {
			return 0, err
		}
		if s.Bytes > 0 && s.Bytes-before <= s.Bytes/1000 {
			return s.Bytes, nil
		}
		before = s.Bytes
		if err := sleep(ctx, time.Second); err != nil {
			return 0, fmt.Errorf("wait until no more goes in: %d bytes sent: %w", s.Bytes, err)
		}
	}
}

// memory is the most that a proxy, and the kernel for TCP, had at any look.
type memory struct {
	proxy                    *peers.Proxy
	before, most             int64
	kernelBefore, mostKernel int64
	err                      error
	end, has                 chan struct{}
}

func watchMemory(p *peers.Proxy) (*memory, error) {
	m := &memory{proxy: p, end: make(chan struct{}), has: make(chan struct{})}
	if err := m.look(); err != nil {
		return nil, err
	}
	m.before, m.kernelBefore = m.most, m.mostKernel
	go m.run()
	return m, nil
}

func (m *memory) look() error {
	own, err := m.proxy.Memory()
	if err != nil {
		return err
	}
	kernel, err := proc.KernelTCP()
	m.most, m.mostKernel = max(m.most, own), max(m.mostKernel, kernel)
	return err
}

func (m *memory) run() {
	defer close(m.has)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-m.end:
			return
		case <-tick.C:
		}
		if m.err = m.look(); m.err != nil {
			return
		}
	}
}

// stop ends the looks.
func (m *memory) stop() error {
	close(m.end)
	<-m.has
	return m.err
}
