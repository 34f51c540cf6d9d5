package main

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"
)

const (
	// leaveTimeout bounds what a worker that is told to stop does in Consul.
	leaveTimeout = 3 * time.Second

	// rereadEvery is how often the keys are read although no long poll said
	// that they have changed: one that hangs must not hide a failover.
	rereadEvery = 2 * time.Second

	watchPause = 500 * time.Millisecond // after a long poll that failed
)

// election is this worker's part in finding a master and a slave. One
// goroutine, run, owns all of it.
//
// A takeover goes in this order, so that clients never see a wrong master:
// take the lock, stop following, swap in the next epoch, accept writes,
// register role=master; and, where proxies report what they have obeyed,
// acknowledge only when all of them have let go of the old master. A master that
// lost its lock goes the other way: stop acknowledging first, then register as a
// spare.
type election struct {
	registry *registry
	lease    *lease
	store    *store
	server   *server
	self     member
	alone    time.Duration
	reports  reports
	log      zerolog.Logger

	restoring *restoring // nil: no backup was given

	changed chan struct{} // something that a step may act on

	session    string // empty: to be opened
	doubtful   bool   // the session may be gone
	registered string // role in Consul; empty: not known
	view       view
	readAt     time.Time // when view was read
	last       inSync    // the last set that was there
	joined     bool      // the group is one that this worker may be in; see conflict
	renewing   uint64    // epoch of the term that ended for a newer backup; 0: none did
	term       *term     // nil unless master
	since      uint64    // index of the set that made this worker, which was not registered as master, the master
	replica    *replica  // nil unless following
	trouble    string    // last error logged, so that it is logged once
}

// run takes part until ctx ends, or the group turns out to be none for this
// worker, and hands over then.
func (e *election) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watched := make(chan struct{})
	go e.watch(ctx, watched)
	ticker := time.NewTicker(retryEvery)
	defer ticker.Stop()
	stale := true
	for {
		err := e.step(ctx, stale)
		stale = err != nil
		if errors.Is(err, errNotRestored) {
			cancel()
			<-watched
			e.leave()
			return err
		}
		e.note(ctx, err)
		var over <-chan struct{}
		if e.term != nil {
			over = e.term.ctx.Done()
		}
		select {
		case <-ctx.Done():
			<-watched
			e.leave()
			return nil
		case <-e.changed:
			stale = true
		case <-over:
			stale = true
		case <-ticker.C:
		}
	}
}

// watch says on e.changed when a key of the label may have changed, until ctx
// ends; then it closes ended.
func (e *election) watch(ctx context.Context, ended chan<- struct{}) {
	defer close(ended)
	var index uint64
	for ctx.Err() == nil {
		next, err := e.registry.changed(ctx, index)
		if err != nil || next == 0 {
			index = 0
			sleep(ctx, watchPause)
			continue
		}
		if next == index {
			continue
		}
		index = next
		nudge(e.changed)
	}
}

// step brings the worker one step nearer to what Consul says it should be. It
// is called often and does nothing where nothing is to be done.
func (e *election) step(ctx context.Context, stale bool) error {
	if e.term != nil && e.term.ctx.Err() != nil {
		e.stepDown("deposed")
	}
	if !e.lease.valid() {
		e.stepDown("lease has lapsed")
		e.registered, e.doubtful, stale = "", true, true
		if err := e.register(ctx, "spare"); err != nil {
			return err
		}
	}
	if err := e.haveSession(ctx); err != nil {
		return err
	}
	vacant := e.view.master.session == "" || e.view.slave.session == ""
	if stale || vacant || time.Since(e.readAt) > rereadEvery {
		if err := e.read(ctx); err != nil {
			return err
		}
	}
	if e.term != nil && e.view.master.session != e.session {
		e.stepDown("lock is lost")
		e.doubtful = true
	}
	if err := e.renew(ctx); err != nil {
		return err
	}
	return e.act(ctx)
}

func (e *election) read(ctx context.Context) error {
	v, err := e.registry.read(ctx)
	if err != nil {
		return err
	}
	if v.index > 0 {
		e.last = v.inSync
	}
	e.view, e.readAt = v, time.Now()
	return e.conflict(v)
}

// act does what decide says.
func (e *election) act(ctx context.Context) error {
	switch decide(e.view, e.session, e.candidate()) {
	case lead:
		return e.lead(ctx)
	case runForMaster:
		return e.runFor(ctx, e.registry.masterKey())
	case runForSlave:
		return e.runFor(ctx, e.registry.slaveKey())
	case awaitVacancy:
		return e.register(ctx, "spare")
	case followAsSlave:
		e.follow(ctx, true)
		return e.register(ctx, "slave")
	default:
		e.follow(ctx, false)
		return e.register(ctx, "spare")
	}
}

// note logs err once, and once that it is over.
func (e *election) note(ctx context.Context, err error) {
	switch {
	case ctx.Err() != nil:
	case err == nil && e.trouble != "":
		e.trouble = ""
		e.log.Info().Msg("consul trouble is over")
	case err != nil && err.Error() != e.trouble:
		e.trouble = err.Error()
		e.log.Warn().Err(err).Msg("consul trouble")
	}
}
