package main

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/cmd/internal/freeport"
)

// place is a data centre: a Consul of its own, a group of workers, an instance of
// rosproxy, and what writes backups there.
type place struct {
	name    string
	dir     string // of its disk: what is there outlives its processes
	consul  *consul
	program string   // of Consul
	args    []string // of its agent, which comes back as the one it was
	wan     string   // HOST:PORT of its gossip with the other data centre
	workers []*worker
	proxy   *rosproxy
	backups *backups // nil: none are written here
	watch   *watch
}

// newPlace makes one whose processes do not run yet.
func newPlace(name, consulProgram, workerProgram, dir string, ids ...string) (*place, error) {
	var ports [4]string
	for i := range ports {
		port, err := freeport.Find()
		if err != nil {
			return nil, err
		}
		ports[i] = strconv.Itoa(port)
	}
	addr := "127.0.0.1:" + ports[0]
	client, err := api.NewClient(&api.Config{Address: addr, Transport: &http.Transport{DisableKeepAlives: true}})
	if err != nil {
		return nil, fmt.Errorf("configure consul at %s: %w", addr, err)
	}
	p := &place{
		name: name, dir: filepath.Join(dir, name), program: consulProgram, wan: "127.0.0.1:" + ports[3],
		consul: &consul{
			client: client, addr: addr, flags: []string{"--consul-addr", addr}, env: childEnv("ROSPROXY_", "SYNC_", "CONSUL_"), label: "default",
		},
		// A server with a disk, for a dev agent comes back as if it had never been.
		args: []string{
			"agent", "-server", "-bootstrap-expect", "1", "-data-dir", filepath.Join(dir, name, "consul"), "-datacenter", name, "-node", name,
			"-log-level", "info", "-bind", "127.0.0.1", "-client", "127.0.0.1",
			"-http-port", ports[0], "-server-port", ports[1], "-serf-lan-port", ports[2], "-serf-wan-port", ports[3],
			"-dns-port", "-1", "-grpc-port", "-1", "-grpc-tls-port", "-1",
			"-hcl", `performance { raft_multiplier = 1 } disable_update_check = true retry_interval_wan = "1s"`,
		},
	}
	p.watch = newWatch(p.consul)
	for _, id := range ids {
		port, err := freeport.Find()
		if err != nil {
			return nil, err
		}
		p.workers = append(p.workers, &worker{id: id, label: p.consul.label, addr: freeport.Loopback(port), program: workerProgram})
	}
	return p, nil
}

// join makes two places one federation: each looks for the other until it is there.
func join(a, b *place) {
	a.args = append(a.args, "-retry-join-wan", b.wan)
	b.args = append(b.args, "-retry-join-wan", a.wan)
}

// startConsul starts the agent, or starts it again with what is on its disk.
func (p *place) startConsul(logs string) (err error) {
	p.consul.agent, err = startProcess(logs, "consul "+p.name, p.consul.env, nil, p.program, p.args...)
	return err
}

// knows reports whether Consul here can be read, and through it that of the other.
func (p *place) knows(ctx context.Context, other *place) bool {
	for _, dc := range []string{p.name, other.name} {
		q := (&api.QueryOptions{Datacenter: dc, RequireConsistent: true}).WithContext(ctx)
		if _, _, err := p.consul.client.KV().Get("rosdemo", q); err != nil {
			return false
		}
	}
	return true
}

// startWorkers starts the group.
func (p *place) startWorkers(logs string, flags ...string) error {
	for _, w := range p.workers {
		w.flags = flags
		if err := w.start(p.consul, logs); err != nil {
			return err
		}
	}
	return nil
}

// stopWorkers ends them as an operator does.
func (p *place) stopWorkers() {
	var wg sync.WaitGroup
	for _, w := range p.workers {
		if w.process != nil {
			wg.Go(w.process.stop)
		}
	}
	wg.Wait()
}

// master is the group's; nil: it has none.
func (p *place) master() *worker { return p.has("master") }

func (p *place) has(role string) *worker {
	id, _ := p.watch.who(role)
	if i := slices.IndexFunc(p.workers, func(w *worker) bool { return w.id == id }); i >= 0 {
		return p.workers[i]
	}
	return nil
}

// settled reports whether the group has a master and a slave in sync.
func (p *place) settled(ctx context.Context) bool {
	master, slave := p.master(), p.has("slave")
	return master != nil && slave != nil && master.status(ctx)["in-sync"] == slave.id
}

// processes are all that run here, or have.
func (p *place) processes() []*process {
	var all []*process
	for _, w := range p.workers {
		all = append(all, w.process)
	}
	if p.proxy != nil {
		all = append(all, p.proxy.process)
	}
	if p.backups != nil {
		all = append(all, p.backups.process)
	}
	all = append(all, p.consul.agent)
	return slices.DeleteFunc(all, func(p *process) bool { return p == nil })
}

// kill ends everything here at once, and returns when it is gone.
func (p *place) kill() {
	var wg sync.WaitGroup
	for _, process := range p.processes() {
		process.expectEnd()
		wg.Go(func() { process.kill() }) //nolint:errcheck // it ends with rosdemo at the latest
	}
	wg.Wait()
}
