package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// begin is the first act: two data centres come up.
func (r *recovery) begin(ctx context.Context) error {
	if err := r.act(ctx, "1. Two data centres come up, and the operator says which is the active one",
		"Until then nobody is: clients are held."); err != nil {
		return err
	}
	began := time.Now()
	for _, p := range r.places() {
		if err := p.startConsul(r.dir); err != nil {
			return err
		}
	}
	err := r.await(ctx, "two Consuls that know each other", func() bool { return r.one.knows(ctx, r.two) && r.two.knows(ctx, r.one) })
	if err != nil {
		return err
	}
	r.scr.event(time.Since(began), "a Consul in dc1 and one in dc2 know each other (WAN federation)")
	if err := r.one.startWorkers(r.dir); err != nil {
		return err
	}
	if err := r.await(ctx, "a master in dc1", func() bool { return r.one.settled(ctx) }); err != nil {
		return err
	}
	r.scr.event(time.Since(began), "worker %s is master in dc1", r.one.master().id)
	if err := r.startProxy(r.one, "rosproxy A", "hold"); err != nil {
		return err
	}
	if err := r.startProxy(r.two, "rosproxy B", "forward"); err != nil {
		return err
	}
	for _, p := range r.places() {
		r.balancer.add(p.proxy)
		if err := r.await(ctx, p.proxy.name+" to find no active data centre", func() bool {
			return strings.Contains(r.whyUnready(ctx, p), "no active data centre")
		}); err != nil {
			return err
		}
	}
	r.scr.event(time.Since(began), "rosproxy A in dc1 and B in dc2 are up. Their /readyz says %q", r.whyUnready(ctx, r.two))
	return nil
}

// whyUnready is what the place's instance says of why it is not ready; empty: it is, or does not answer.
func (r *recovery) whyUnready(ctx context.Context, p *place) string {
	var answer struct {
		Reasons []string `json:"reasons"`
	}
	code, err := call(ctx, http.MethodGet, "http://"+p.proxy.admin+"/readyz", &answer)
	if err != nil || code == http.StatusOK {
		return ""
	}
	return strings.Join(answer.Reasons, "; ")
}

// activateFirst ends the first act.
func (r *recovery) activateFirst(ctx context.Context) error {
	if err := r.activate(ctx, r.one); err != nil {
		return err
	}
	if err := r.await(ctx, "A and B to be ready", func() bool { return r.one.proxy.ready.Load() && r.two.proxy.ready.Load() }); err != nil {
		return err
	}
	r.scr.note("%s write through A and, forwarded to dc1, through B", plural(r.clients, "client"))
	return nil
}

// warmUp is the second act.
func (r *recovery) warmUp(ctx context.Context) error {
	if err := r.act(ctx, "2. Backups go to dc2, whose workers are a warm spare",
		"They have elected a master, and take each backup as it comes. It ends with the first write to them."); err != nil {
		return err
	}
	began := time.Now()
	if err := r.two.backUp(r.dir, r.two.disk("dc1.backup"), r.one); err != nil {
		return err
	}
	if err := r.one.backUp(r.dir, r.one.disk("dc1.backup"), r.one); err != nil {
		return err
	}
	if err := r.two.startWorkers(r.dir, "--restore", r.two.backups.file, "--warm-spare"); err != nil {
		return err
	}
	if err := r.await(ctx, "a warm spare in dc2", func() bool { return r.two.settled(ctx) }); err != nil {
		return err
	}
	warm := r.two.master()
	r.scr.event(time.Since(began), "worker %s is master in dc2: it has %s of a backup, and no client", warm.id, plural(warm.records(ctx), "record"))
	if err := r.awaitBackup(ctx, warm); err != nil {
		return err
	}
	if err := r.awaitBackup(ctx, warm); err != nil {
		return err
	}
	r.scr.event(time.Since(began), "two backups later it has %s, and dc1 has acknowledged %s", thousands(warm.records(ctx)), thousands(r.ledger.count().acked))
	return nil
}

// awaitBackup waits until a worker has a newer backup than now.
func (r *recovery) awaitBackup(ctx context.Context, w *worker) error {
	before := w.records(ctx)
	return r.await(ctx, "the next backup", func() bool { return w.records(ctx) > before })
}

// loseOne is the third act.
func (r *recovery) loseOne(ctx context.Context) error {
	if err := r.act(ctx, "3. dc1 is lost: its workers, its Consul, its rosproxy",
		"The balancer finds B. B cannot know whether dc1 is down or only cut off, so it waits, and the",
		"clients with it."); err != nil {
		return err
	}
	// Between two backups, so that there is something that the last one lacks.
	if err := r.awaitBackup(ctx, r.two.master()); err != nil {
		return err
	}
	if err := pause(ctx, backupEvery/2); err != nil {
		return err
	}
	r.history = r.one.master().status(ctx)["history"]
	r.ledger.longestWait()
	began := time.Now()
	r.one.kill()
	r.scr.event(0, "%s to everything in dc1", r.scr.paint(red, "SIGKILL"))
	if err := r.await(ctx, "the clients to wait at B", func() bool { return r.ledger.count().waiting == r.clients }); err != nil {
		return err
	}
	r.scr.event(time.Since(began), "all %s have found B, and are held", plural(r.clients, "client"))
	return pause(ctx, calm)
}

// takeOver ends the third act.
func (r *recovery) takeOver(ctx context.Context) error {
	status, err := r.operate(ctx, r.two, "datacenter", "activate", "dc2", "--timeout", "2s")
	if err != nil {
		return err
	}
	if status == 0 {
		return fmt.Errorf("activate dc2: exit status 0 while dc1 cannot be reached; want it refused without --force")
	}
	r.scr.note("refused: dc1 cannot be asked. The operator makes sure that it is down, and vouches for that with --force")
	if r.lostBackup, err = r.two.backups.verify(ctx, r.two.workers[0].program); err != nil {
		return err
	}
	warm := r.two.master()
	if err := r.await(ctx, "the last backup to be restored", func() bool { return warm.records(ctx) >= r.lostBackup.records }); err != nil {
		return err
	}
	if err := r.activate(ctx, r.two, "--force"); err != nil {
		return err
	}
	r.forcedWait = r.ledger.longestWait()
	if err := pause(ctx, calm/2); err != nil {
		return err
	}
	acks := r.book.all()
	held, err := warm.dump(ctx)
	if err != nil {
		return err
	}
	r.loss.judge(missing(acks, held), r.one.name, r.lostBackup.taken)
	r.scr.note("nobody acknowledged a record for %s, of which the operator took %v to look", clock(gap(acks)), calm)
	r.scr.note("the last backup went up to record %s, %q: %s that dc1 had acknowledged since are not in dc2",
		thousands(r.lostBackup.records), r.lostBackup.last, plural(len(r.loss.byDesign), "record"))
	return nil
}

// returnOne is the fourth act.
func (r *recovery) returnOne(ctx context.Context) error {
	if err := r.act(ctx, "4. dc1 comes back with what it had",
		"Its Consul still says that dc1 is the active one. Its workers start from dc1's own last backup and",
		"elect a master, as if nothing had happened."); err != nil {
		return err
	}
	began := time.Now()
	r.two.backups.process.stop() // those of dc1
	own := r.one.backups.file
	if err := r.one.startConsul(r.dir); err != nil {
		return err
	}
	if err := r.one.startWorkers(r.dir, "--restore", own, "--restore-over", r.history); err != nil {
		return err
	}
	if err := r.startProxy(r.one, "rosproxy A", "hold"); err != nil {
		return err
	}
	r.balancer.replace(r.one.proxy)
	if err := r.await(ctx, "a master in dc1", func() bool { return r.one.settled(ctx) }); err != nil {
		return err
	}
	stale := r.one.master()
	held, err := stale.dump(ctx)
	if err != nil {
		return err
	}
	r.scr.event(time.Since(began), "worker %s is master in dc1, with %s: none of those that dc2 has acknowledged since", stale.id, plural(len(held), "record"))
	const want = "standby: active data centre is dc2"
	if err := r.await(ctx, "A to know that dc2 is the active one", func() bool { return strings.Contains(r.whyUnready(ctx, r.one), want) }); err != nil {
		return err
	}
	r.scr.event(time.Since(began), "A is not ready, and says why: %q", r.whyUnready(ctx, r.one))
	if _, err := r.operate(ctx, r.two, "datacenter", "show"); err != nil {
		return err
	}
	return r.probe(ctx, stale)
}

// probe has a client ask A, past the balancer, for a write, and counts what comes of it.
func (r *recovery) probe(ctx context.Context, stale *worker) error {
	asked := &worker{id: "behind A", addr: r.one.proxy.listen}
	bounded, cancel := context.WithTimeout(ctx, calm)
	defer cancel()
	answered := make(chan string, 1)
	go func() {
		line, err := asked.askWithin(bounded, "PUT probe 1")
		if err != nil {
			line = ""
		}
		answered <- line
	}()
	if line := <-answered; line != "" {
		r.probed++
		r.scr.note("a client that asks A got %q", line)
	} else {
		r.scr.note("a client that asks A, past the balancer, is held: no answer in %v", calm)
	}
	return r.countStale("worker "+stale.id, stale.addr)
}
