package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rosproxy/rosproxy/cmd/internal/freeport"
)

// demo is one showing of sync workers: the cast and what the acts have counted.
type demo struct {
	stage
	watch   *watch
	workers []*worker
	clients int
	ledger  *ledger

	died int // connections that ended with a killed master
}

// run shows the demo and reports whether everything went as rosproxy promises.
func run(ctx context.Context, o options, scr *screen) (passed bool, err error) {
	rosproxyProgram, err := findProgram("rosproxy")
	if err != nil {
		return false, err
	}
	workerProgram, err := findProgram("syncworker")
	if err != nil {
		return false, err
	}
	dir, err := os.MkdirTemp("", "rosdemo-")
	if err != nil {
		return false, fmt.Errorf("make a directory for logs: %w", err)
	}
	defer func() { endOfLogs(scr, dir, passed && !o.KeepLogs) }()

	introduce(scr, o)
	c, err := chooseConsul(ctx, o.Consul, dir, scr)
	if err != nil {
		return false, err
	}
	scr.print("Consul: " + scr.paint(bold, c.words) + ".")
	if c.label != "default" {
		scr.print("The workers register there as service sync with the label " + c.label + "; it is removed in the end.")
	}
	d := &demo{
		stage: stage{
			scr: scr, dir: dir, program: rosproxyProgram, consul: c, balancer: &balancer{}, patience: murmurAfter,
			flags: []string{"--fence-report", c.reports()},
		},
		watch: newWatch(c), clients: o.Clients, ledger: newLedger(),
	}
	d.cast, d.count = d.processes, d.ledger.count
	defer d.close()
	for _, id := range []string{"1", "2", "3"} {
		port, err := freeport.Find()
		if err != nil {
			return false, err
		}
		d.workers = append(d.workers, &worker{
			id: id, label: c.label, addr: freeport.Loopback(port), program: workerProgram, flags: []string{"--fence-report", c.reports()},
		})
	}
	return d.play(ctx)
}

// endOfLogs removes the logs, or says where they are.
func endOfLogs(scr *screen, dir string, remove bool) {
	switch {
	case os.Remove(dir) == nil: // nothing has run
	case remove:
		os.RemoveAll(dir) //nolint:errcheck // it is in the system's directory for such
	default:
		scr.print("The logs of all processes are in " + dir + ".")
	}
}

func introduce(scr *screen, o options) {
	scr.print(scr.paint(bold, "What rosproxy is for"))
	scr.print(fmt.Sprintf(`
Sync workers elect one master through Consul; only the master may take writes. Clients
do not know who that is. They connect to rosproxy, of which there are two, A and B. It connects
them to the master and, the moment another one is elected, cuts them off from the old one. The
new one acknowledges nothing before both have reported that they have let go of the old one.

  %d clients --> rosproxy --> master --> slave    (a record is acknowledged when both have it)
                    |            \
                 Consul           spare           (takes the slave's place in a failover)
`, o.Clients))
}

// findProgram finds another program of this project.
func findProgram(name string) (string, error) {
	for _, p := range besides(name) {
		if _, err := os.Stat(p); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("find %s at %s: run make demo, which builds it", name, strings.Join(besides(name), " or "))
}

// play runs the acts, in the background what they need, and the summary.
func (d *demo) play(ctx context.Context) (passed bool, err error) {
	background, stopBackground := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stopBackground()
	wg.Go(func() { d.watch.run(background) })
	wg.Go(func() { d.balancer.run(background) })
	wg.Go(func() { d.showLive(background, d.master) })

	if err := d.elect(ctx); err != nil {
		return false, err
	}
	clients := startClients(background, d.clients, d.balancer, d.ledger)
	defer clients.giveUp()
	for _, act := range []func(context.Context) error{d.firstWrites, d.killMaster, d.rejoin, d.freezeMaster, d.upgradeToC} {
		if err := act(ctx); err != nil {
			return false, err
		}
	}
	clients.finish()
	stopBackground() // no live line below the summary
	return d.summary(ctx)
}

// close ends every process, and what was left in Consul.
func (d *demo) close() {
	for _, r := range d.balancer.all() {
		r.process.expectEnd()
		r.process.kill() //nolint:errcheck // it ends with rosdemo at the latest
	}
	var wg sync.WaitGroup
	for _, w := range d.workers {
		if w.process != nil {
			wg.Go(w.process.stop)
		}
	}
	wg.Wait()
	d.consul.close(d.workers)
}

func (d *demo) worker(id string) *worker {
	i := slices.IndexFunc(d.workers, func(w *worker) bool { return w.id == id })
	return d.workers[i]
}

// processes are the workers'.
func (d *demo) processes() []*process {
	var all []*process
	for _, w := range d.workers {
		all = append(all, w.process)
	}
	return all
}

// master is for the live line.
func (d *demo) master() string {
	if id, _ := d.watch.who("master"); id != "" {
		return d.scr.paint(green, "worker "+id+" is master")
	}
	return d.scr.paint(red, "nobody is master")
}

// crowd is the clients.
type crowd struct {
	soft, hard context.CancelFunc
	wg         *sync.WaitGroup
}

func startClients(ctx context.Context, n int, b *balancer, l *ledger) *crowd {
	hard, cancelHard := context.WithCancel(ctx)
	soft, cancelSoft := context.WithCancel(hard)
	c := &crowd{soft: cancelSoft, hard: cancelHard, wg: &sync.WaitGroup{}}
	for i := range n {
		client := &client{name: fmt.Sprintf("c%02d", i+1), balancer: b, ledger: l}
		c.wg.Go(func() { client.run(soft, hard) })
	}
	return c
}

// finish lets every client have its last record acknowledged, and ends them.
func (c *crowd) finish() {
	c.soft()
	timer := time.AfterFunc(finishTimeout, c.hard)
	defer timer.Stop()
	c.wg.Wait()
}

// giveUp ends the clients at once.
func (c *crowd) giveUp() {
	c.hard()
	c.wg.Wait()
}
