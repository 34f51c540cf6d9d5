package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// recovery is one showing of disaster recovery: two data centres, one of which is lost.
type recovery struct {
	stage
	one, two *place // dc1 and dc2
	clients  int
	ledger   *ledger
	book     *placeBook
	loss     loss

	lostBackup  backupFacts   // the last one of dc1 in dc2 when that took over
	history     string        // of dc1's group when it was lost
	forcedWait  time.Duration // longest wait of a client for the forced activation
	plannedWait time.Duration // and for the planned one
	probed      int           // answers that dc1 gave while dc2 was the active one
}

// recoveryFenceTTL is short, for a forced activation waits for the leases that a
// data centre may have given that cannot be asked.
const recoveryFenceTTL = 6 * time.Second

// runRecovery shows disaster recovery and reports whether everything went as
// rosproxy promises.
func runRecovery(ctx context.Context, o recoveryOptions, scr *screen) (passed bool, err error) {
	program, err := findProgram("rosproxy")
	if err != nil {
		return false, err
	}
	workerProgram, err := findProgram("syncworker")
	if err != nil {
		return false, err
	}
	consulProgram := findConsul()
	if consulProgram == "" {
		return false, errors.New("find consul on PATH or in bin: run make consul, which builds it")
	}
	dir, err := os.MkdirTemp("", "rosdemo-")
	if err != nil {
		return false, fmt.Errorf("make a directory for logs: %w", err)
	}
	defer func() { endOfLogs(scr, dir, passed && !o.KeepLogs) }()

	introduceRecovery(scr, o)
	r := &recovery{clients: o.Clients, ledger: newLedger(), book: &placeBook{of: map[string]string{}}}
	r.ledger.onAck = r.book.take
	if r.one, err = newPlace("dc1", consulProgram, workerProgram, dir, "1", "2", "3"); err != nil {
		return false, err
	}
	if r.two, err = newPlace("dc2", consulProgram, workerProgram, dir, "4", "5", "6"); err != nil {
		return false, err
	}
	join(r.one, r.two)
	for _, p := range r.places() {
		if err := os.MkdirAll(p.dir, 0o700); err != nil {
			return false, fmt.Errorf("make a disk for %s: %w", p.name, err)
		}
		for _, w := range p.workers {
			r.book.of[w.id] = p.name
		}
	}
	r.stage = stage{scr: scr, dir: dir, program: program, consul: r.two.consul, balancer: &balancer{}, patience: murmurAfter}
	r.cast, r.count = r.processes, r.ledger.count
	defer r.close()
	return r.play(ctx)
}

func introduceRecovery(scr *screen, o recoveryOptions) {
	scr.print(scr.paint(bold, "What rosproxy is for: a data centre is lost"))
	scr.print(fmt.Sprintf(`
Two data centres, each with a Consul, a group of sync workers and a rosproxy. An entry in Consul,
kept in both, names the active one: its master takes the writes. Backups of that go to the other,
whose workers are its warm spare. Nothing moves by itself: the operator decides.

  %d clients --> balancer --> rosproxy A --> dc1: master, slave, spare
                         \--> rosproxy B --/         |  a backup every %v
                                             dc2: warm spare
`, o.Clients, backupEvery))
}

func (r *recovery) places() []*place { return []*place{r.one, r.two} }

// play runs the acts, in the background what they need, and the summary.
func (r *recovery) play(ctx context.Context) (passed bool, err error) {
	background, stopBackground := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stopBackground()
	for _, p := range r.places() {
		wg.Go(func() { p.watch.run(background) })
	}
	wg.Go(func() { r.balancer.run(background) })
	wg.Go(func() { r.showLive(background, r.activePlace) })

	if err := r.begin(ctx); err != nil {
		return false, err
	}
	clients := startClients(background, r.clients, r.balancer, r.ledger)
	defer clients.giveUp()
	for _, act := range []func(context.Context) error{r.activateFirst, r.warmUp, r.loseOne, r.takeOver, r.returnOne, r.rebuildOne, r.giveBack} {
		if err := act(ctx); err != nil {
			return false, err
		}
	}
	clients.finish()
	stopBackground() // no live line below the summary
	return r.summary(ctx)
}

// close ends every process.
func (r *recovery) close() {
	for _, p := range r.places() {
		p.kill()
	}
}

// processes are those of both places but for the instances of rosproxy, which are the balancer's.
func (r *recovery) processes() []*process {
	return append(r.one.processes(), r.two.processes()...)
}

// activePlace is for the live line.
func (r *recovery) activePlace() string {
	if place, _ := r.book.activeSince(); place != "" {
		return r.scr.paint(green, place+" serves")
	}
	return r.scr.paint(red, "nobody serves")
}

func (r *recovery) allConnected() bool { return r.ledger.count().live == r.clients }

// startProxy starts a place's instance, which holds clients while the active data
// centre is another one, or forwards them there.
func (r *recovery) startProxy(p *place, name, remote string) error {
	proxy, err := startRosproxy(name, r.program, r.dir, p.consul, append([]string{
		"--remote-master", remote, "--hold-timeout", "30s", "--instance", p.name,
	}, datacenterFlags...)...)
	if err != nil {
		return err
	}
	p.proxy = proxy
	return nil
}

// datacenterFlags are what rosproxy, and the operator's command, are told of the places.
var datacenterFlags = []string{"--consul-datacenter", "dc1", "--consul-datacenter", "dc2", "--fence-ttl", recoveryFenceTTL.String()}

// disk is a file on a place's disk.
func (p *place) disk(name string) string { return filepath.Join(p.dir, name) }
