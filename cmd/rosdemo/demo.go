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

// demo is one showing: the cast and what the acts have counted.
type demo struct {
	scr     *screen
	dir     string // of the logs
	program string // rosproxy
	consul  *consul
	watch   *watch
	workers []*worker
	clients int

	balancer *balancer
	ledger   *ledger

	cut          int // connections that rosproxy cut
	died         int // connections that ended with a killed master
	staleSockets int // connections from rosproxy to a master that was replaced
	upgradeBroke int // connections that the upgrade broke
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
	defer func() {
		if os.Remove(dir) == nil { // nothing has run
			return
		}
		if passed && !o.KeepLogs {
			os.RemoveAll(dir) //nolint:errcheck // it is in the system's directory for such
			return
		}
		scr.print("The logs of all processes are in " + dir + ".")
	}()

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
		scr: scr, dir: dir, program: rosproxyProgram, consul: c, watch: newWatch(c), clients: o.Clients,
		balancer: &balancer{}, ledger: newLedger(),
	}
	defer d.close()
	for _, id := range []string{"1", "2", "3"} {
		port, err := freeport.Find()
		if err != nil {
			return false, err
		}
		d.workers = append(d.workers, &worker{id: id, label: c.label, addr: freeport.Loopback(port), program: workerProgram})
	}
	return d.play(ctx)
}

func introduce(scr *screen, o options) {
	scr.print(scr.paint(bold, "What rosproxy is for"))
	scr.print(fmt.Sprintf(`
Sync workers elect one master through Consul; only the master may take writes. Clients
do not know who that is. They connect to rosproxy, which connects them to the master and,
the moment another one is elected, cuts them off from the old one.

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
	wg.Go(func() { d.showStatus(background) })

	if err := d.elect(ctx); err != nil {
		return false, err
	}
	clients := startClients(background, d.clients, d.balancer, d.ledger)
	defer clients.giveUp()
	for _, act := range []func(context.Context) error{d.firstWrites, d.killMaster, d.rejoin, d.freezeMaster, d.upgrade} {
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

// trouble is an error when a process ended that should not have.
func (d *demo) trouble() error {
	var all []*process
	for _, w := range d.workers {
		all = append(all, w.process)
	}
	for _, r := range d.balancer.all() {
		all = append(all, r.process)
	}
	for _, p := range append(all, d.consul.agent) {
		if p == nil {
			continue
		}
		if err := p.died(); err != nil {
			return err
		}
	}
	return nil
}

const (
	pollEvery     = 5 * time.Millisecond
	murmurAfter   = 4 * time.Second // a wait this long is explained
	statusEvery   = 100 * time.Millisecond
	rateEvery     = 500 * time.Millisecond
	finishTimeout = 25 * time.Second // longer than replyTimeout
)

// await waits until ready, and says what for when that takes long.
func (d *demo) await(ctx context.Context, what string, ready func() bool) error {
	said := time.Now()
	for !ready() {
		if err := d.trouble(); err != nil {
			return fmt.Errorf("waiting for %s: %w", what, err)
		}
		if time.Since(said) > murmurAfter {
			said = time.Now()
			d.scr.note("still waiting for %s", what)
		}
		if !sleep(ctx, pollEvery) {
			return fmt.Errorf("%w, waiting for %s", context.Cause(ctx), what)
		}
	}
	return nil
}

// happening is something that an act waits for.
type happening struct {
	what string
	at   func() time.Time // zero: not yet
	text func() string
}

// follow waits for all of the happenings and prints each as it comes, in the
// order of their times.
func (d *demo) follow(ctx context.Context, began time.Time, pending []happening) error {
	for len(pending) > 0 {
		var come []happening
		names := make([]string, len(pending))
		for i, h := range pending {
			names[i] = h.what
		}
		err := d.await(ctx, strings.Join(names, ", "), func() bool {
			for _, h := range pending {
				if !h.at().IsZero() {
					come = append(come, h)
				}
			}
			return len(come) > 0
		})
		if err != nil {
			return err
		}
		slices.SortStableFunc(come, func(a, b happening) int { return a.at().Compare(b.at()) })
		for _, h := range come {
			d.scr.event(h.at().Sub(began), "%s", h.text())
		}
		pending = slices.DeleteFunc(pending, func(h happening) bool {
			return slices.ContainsFunc(come, func(c happening) bool { return c.what == h.what })
		})
	}
	return nil
}

// showStatus keeps the live line until ctx ends.
func (d *demo) showStatus(ctx context.Context) {
	if !d.scr.live {
		return
	}
	rate, rated := 0, time.Now()
	for sleep(ctx, statusEvery) {
		if time.Since(rated) > rateEvery {
			rated = time.Now()
			rate = d.ledger.rate(rated)
		}
		master := d.scr.paint(red, "nobody is master")
		if id, _ := d.watch.who("master"); id != "" {
			master = d.scr.paint(green, "worker "+id+" is master")
		}
		c := d.ledger.count()
		d.scr.status(fmt.Sprintf("  %s | %s acknowledged, %d/s | %d connected, %d waiting",
			master, thousands(c.acked), rate, c.live, c.waiting))
	}
	d.scr.close()
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
