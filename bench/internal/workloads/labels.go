package workloads

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/rosproxy/rosproxy/bench/internal/consul"
	"github.com/rosproxy/rosproxy/bench/internal/peers"
	"github.com/rosproxy/rosproxy/bench/internal/results"
)

// labelCounts are how many labels one process serves, one after the other.
var labelCounts = []struct {
	count int
	text  string
}{{1, ", 1 label"}, {100, ", 100 labels"}, {1000, ", 1,000 labels"}}

const (
	one, thousand = ", 1 label", ", 1,000 labels"

	connections = "connections to the agent"
	idleOwn     = "idle CPU of rosproxy"
	idleConsul  = "idle CPU of Consul"
	more        = ", 1,000 labels less 1"
	barePoll    = "bare long poll"
	readyAfter  = "ready after Consul's first answer"
	readyStart  = "ready after the start"
	resident    = "resident memory, no client"
	heap        = "Go heap in use, no client"
)

// labels is one process that follows many labels of one service.
func labels() []*Workload {
	var units [][2]string
	for _, f := range [][2]string{{connections, ""}, {idleOwn, "% of a core"}, {idleConsul, "% of a core"}, {lastClosed, "ms"}, {barePoll, "ms"}} {
		for _, c := range labelCounts {
			units = append(units, [2]string{f[0] + c.text, f[1]})
		}
		if f[0] == idleOwn || f[0] == idleConsul {
			units = append(units, [2]string{f[0] + more, f[1]})
		}
	}
	units = append(units, [2]string{readyAfter + thousand, "ms"}, [2]string{readyStart + thousand, "ms"})
	for _, c := range labelCounts {
		units = append(units, [2]string{resident + c.text, "MB"})
	}
	units = append(units, [2]string{heap + thousand, "MB"})
	checks := []results.Check{
		{Figure: connections + one, Limit: 4}, {Figure: connections + ", 100 labels", Limit: 4}, {Figure: connections + thousand, Limit: 4},
		{Figure: idleOwn + more, Limit: 1}, {Figure: idleConsul + more, Limit: 1},
		{Figure: readyAfter + thousand, Limit: 1000},
		{Figure: resident + thousand, Limit: 64},
	}
	elected := []results.Check{ // of one agent: three servers take longer for a write
		{Figure: lastClosed + thousand, Other: lastClosed + one, Limit: 2},
		{Figure: lastClosed + thousand, Limit: 10}, {Figure: lastClosed + thousand, Limit: 100, Worst: true},
	}
	about := "One process, a configuration file with a listener for each label, and for each a master in the catalog. Connections are the most that were seen at any look, " +
		"all through the idle time and the elections. Idle CPU is that of 30 s without a client. Last closed is an election as above, of one of ten labels that have 16 clients each. " +
		"The bare long poll is what Consul itself takes, without rosproxy: the same elections, until a client that asks for all masters of the service has read the whole answer " +
		"that names the new one. Ready is when `/readyz` says that every label has a master, looked at every 5 ms; Consul's first answer is its first byte at a relay that stands " +
		"between the two for that. "
	of := func(name, title, consulIs string, agent func(*Bench) startAgent) *Workload {
		return &Workload{
			Name: name, Title: "1, 100 and 1,000 labels of one service (" + title + ")", About: about + consulIs,
			Peers: []string{peers.Rosproxy}, Units: units, Checks: slices.Concat(checks, elected),
			Run: func(ctx context.Context, b *Bench, peer string) (Samples, error) {
				return serveLabels(ctx, b, peer, agent(b), (*labelled).run)
			},
			Limit: 10 * time.Minute, Consul: true, Fifth: true,
		}
	}
	cluster := of("labels-cluster", "three servers, a client agent", "Consul is all four processes. A consistent read and a long poll that wakes are such barely asked questions too, "+
		"one read after the other, and 20 polls that one write wakes; their CPU is what goes beyond that of the idle cluster, divided by their number.",
		func(b *Bench) startAgent { return b.Cluster })
	cluster.Checks, cluster.Units = checks, slices.Clone(units)
	for _, f := range costUnits {
		for _, c := range labelCounts {
			cluster.Units = append(cluster.Units, [2]string{f[0] + c.text, f[1]})
		}
	}
	cluster.Units = append(cluster.Units, [2]string{keyServers, "ms"}, [2]string{keyAgent, "ms"})
	cluster.Run = func(ctx context.Context, b *Bench, peer string) (Samples, error) {
		return serveLabels(ctx, b, peer, b.Cluster, (*labelled).measureCosts, (*labelled).run)
	}
	return []*Workload{
		of("labels", "a dev agent", "A dev agent indents its JSON, which makes the answers longer.", func(b *Bench) startAgent { return b.Dev }),
		of("labels-server", "a server as in production", "The agent is one server that keeps its state on disk, and whose answers are not indented.",
			func(b *Bench) startAgent { return b.Server }),
		cluster,
	}
}

type startAgent = func(context.Context) (*consul.Agent, error)

// serveLabels measures each count of labels. What it has measured before
// something failed is in the samples.
func serveLabels(ctx context.Context, b *Bench, peer string, start startAgent, measures ...func(*labelled, context.Context) error) (Samples, error) {
	agent, err := start(ctx)
	if err != nil {
		return nil, err
	}
	out := Samples{}
	for _, c := range labelCounts {
		l := labelled{bench: b, peer: peer, agent: agent, out: out, text: c.text, labels: consul.Labels(fmt.Sprintf("sync-%d", c.count), c.count)}
		if err := agent.Fill(ctx, l.labels); err != nil {
			return out, err
		}
		for _, measure := range measures {
			if err := measure(&l, ctx); err != nil {
				return out, fmt.Errorf("with %d labels: %w", c.count, err)
			}
		}
	}
	for _, f := range []string{idleOwn, idleConsul} {
		out[f+more] = []float64{out[f+thousand][0] - out[f+one][0]}
	}
	return out, nil
}

// labelled is the measurement of one count of labels.
type labelled struct {
	bench  *Bench
	peer   string
	agent  *consul.Agent
	out    Samples
	text   string // in the figures' names
	labels []consul.Label
}

func (l *labelled) run(ctx context.Context) error {
	if err := l.measureFloor(ctx); err != nil {
		return fmt.Errorf("bare long poll: %w", err)
	}
	if l.text == thousand {
		for range l.bench.Starts {
			if err := l.measureStart(ctx); err != nil {
				return fmt.Errorf("start: %w", err)
			}
		}
	}
	r, err := l.bench.newRig(ctx)
	if err != nil {
		return err
	}
	defer r.close()
	if err := r.start(ctx, l.peer, l.options(l.agent.HTTP)); err != nil {
		return err
	}
	if err := r.proxy.AwaitMasters(ctx, readyPatience); err != nil {
		return err
	}
	looks := watchConnections(r.proxy, netip.MustParseAddrPort(l.agent.HTTP))
	idle := l.measureIdle(ctx, r)
	var elected error
	if idle == nil {
		elected = l.measureElections(ctx, r)
	}
	most, err := looks.stop()
	l.out[connections+l.text] = append(l.out[connections+l.text], float64(most))
	return errors.Join(idle, elected, err)
}

// readyPatience is how long all labels may take to have a master.
const readyPatience = 30 * time.Second

func (l *labelled) options(agent string) peers.Options {
	o := peers.Options{Consul: agent, Service: l.labels[0].Service}
	for _, label := range l.labels {
		o.Labels = append(o.Labels, label.Name)
	}
	return o
}

// measureStart starts a process for the time that it takes.
func (l *labelled) measureStart(ctx context.Context) error {
	relay, err := l.agent.Relay(ctx)
	if err != nil {
		return err
	}
	defer relay.Stop()
	r, err := l.bench.newRig(ctx)
	if err != nil {
		return err
	}
	defer r.close()
	began := time.Now()
	if err := r.start(ctx, l.peer, l.options(relay.Address)); err != nil {
		return err
	}
	if err := r.proxy.AwaitMasters(ctx, readyPatience); err != nil {
		return err
	}
	ready := time.Now()
	first, ok := relay.FirstAnswer()
	if !ok {
		return errors.New("rosproxy is ready without an answer of Consul's")
	}
	l.note(readyAfter, milli(int64(ready.Sub(first))))
	l.note(readyStart, milli(int64(ready.Sub(began))))
	return nil
}

func (l *labelled) note(figure string, v float64) {
	l.out[figure+l.text] = append(l.out[figure+l.text], v)
}

// measureIdle measures a process that has no client.
func (l *labelled) measureIdle(ctx context.Context, r *rig) error {
	if err := sleep(ctx, settleTime); err != nil {
		return err
	}
	began := time.Now()
	own, err := r.proxy.CPU()
	if err != nil {
		return err
	}
	before, err := l.agent.Usage(ctx)
	if err != nil {
		return err
	}
	if err := sleep(ctx, l.bench.Idle); err != nil {
		return err
	}
	ownThen, err := r.proxy.CPU()
	if err != nil {
		return err
	}
	after, err := l.agent.Usage(ctx)
	if err != nil {
		return err
	}
	took := time.Since(began)
	share := func(d time.Duration) float64 { return 100 * d.Seconds() / took.Seconds() }
	l.note(idleOwn, share(ownThen-own))
	l.note(idleConsul, share(after.Minus(before).All))
	memory, err := r.proxy.Memory()
	if err != nil {
		return err
	}
	l.note(resident, float64(memory)/1e6)
	inUse, err := r.proxy.Heap(ctx)
	l.note(heap, inUse/1e6)
	return err
}

// settleTime is for what follows a start: Consul's and rosproxy's collectors.
const settleTime = 2 * time.Second
