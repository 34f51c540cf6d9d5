package main

import (
	"context"
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
// acknowledge only when all of them have let go of the old master. A master that lost its lock goes the other way: stop
// acknowledging first, then register as a spare.
type election struct {
	registry *registry
	lease    *lease
	store    *store
	server   *server
	self     member
	alone    time.Duration
	reports  reports
	log      zerolog.Logger

	changed chan struct{} // something that a step may act on

	session    string // empty: to be opened
	doubtful   bool   // the session may be gone
	registered string // role in Consul; empty: not known
	view       view
	readAt     time.Time // when view was read
	term       *term     // nil unless master
	replica    *replica  // nil unless following
	trouble    string    // last error logged, so that it is logged once
}

// run takes part until ctx ends, and hands over then.
func (e *election) run(ctx context.Context) {
	e.changed = make(chan struct{}, 1)
	watched := make(chan struct{})
	go e.watch(ctx, watched)
	ticker := time.NewTicker(retryEvery)
	defer ticker.Stop()
	stale := true
	for {
		err := e.step(ctx, stale)
		stale = err != nil
		e.note(ctx, err)
		var over <-chan struct{}
		if e.term != nil {
			over = e.term.ctx.Done()
		}
		select {
		case <-ctx.Done():
			<-watched
			e.leave()
			return
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
	return e.act(ctx)
}

func (e *election) read(ctx context.Context) error {
	v, err := e.registry.read(ctx)
	if err != nil {
		return err
	}
	e.view, e.readAt = v, time.Now()
	return nil
}

// act does what decide says.
func (e *election) act(ctx context.Context) error {
	whole := e.replica != nil && e.replica.whole()
	switch decide(e.view, e.session, e.self, whole) {
	case lead:
		return e.lead(ctx)
	case runForMaster:
		return e.runFor(ctx, e.registry.masterKey())
	case runForSlave:
		return e.runFor(ctx, e.registry.slaveKey())
	case followAsSlave:
		e.follow(ctx, true)
		return e.register(ctx, "slave")
	default:
		e.follow(ctx, false)
		return e.register(ctx, "spare")
	}
}

// haveSession opens a session where there is none, or it is gone.
func (e *election) haveSession(ctx context.Context) error {
	if e.session != "" && e.doubtful {
		lives, err := e.registry.sessionLives(ctx, e.session)
		if err != nil {
			return err
		}
		if !lives {
			e.log.Warn().Str("session", e.session).Msg("session is gone")
			e.session = ""
		}
	}
	e.doubtful = false
	if e.session != "" {
		return nil
	}
	s, err := e.registry.openSession(ctx)
	if err != nil {
		return err
	}
	e.session = s
	return nil
}

// runFor tries to take a lock; the next step sees what came of it.
func (e *election) runFor(ctx context.Context, key string) error {
	got, err := e.registry.acquire(ctx, key, e.session)
	if err != nil {
		e.doubtful = true
		return err
	}
	if err := e.read(ctx); err != nil {
		return err
	}
	if got {
		return e.act(ctx)
	}
	return nil
}

// lead makes this worker, which holds the lock, the master.
func (e *election) lead(ctx context.Context) error {
	if e.term == nil {
		if !e.view.mayLead(e.self) {
			e.log.Warn().Msg("copy is incomplete: lock is given back")
			return e.registry.release(ctx, e.registry.masterKey(), e.session)
		}
		if err := e.takeOver(ctx); err != nil {
			return err
		}
	}
	if e.term == nil {
		return nil
	}
	if err := e.register(ctx, "master"); err != nil {
		return err
	}
	e.awaitReports()
	if e.view.slave.session != e.session {
		return nil
	}
	if err := e.registry.release(ctx, e.registry.slaveKey(), e.session); err != nil {
		return err
	}
	e.view.slave = lock{} // read again at the next step
	return nil
}

// takeOver begins this worker's term.
func (e *election) takeOver(ctx context.Context) error {
	// Before the swap: from it on the former master must get no
	// acknowledgement from here any more.
	e.stopFollowing()
	next := inSync{Epoch: e.view.inSync.Epoch + 1, Members: []member{e.self}}
	now, index, err := e.registry.swap(ctx, next, e.view.index)
	if err != nil {
		return err
	}
	e.view.inSync, e.view.index = now, index
	if !now.equal(next) {
		return nil // somebody was faster; the next step looks again
	}
	e.term = newTerm(ctx, now, index, e.self, e.store, e.lease, e.registry, e.alone, e.log)
	if e.reports.prefix != "" {
		e.term.fenced = make(chan struct{})
	}
	e.server.term.Store(e.term)
	e.log.Info().Uint64("epoch", now.Epoch).Int("records", e.store.size()).Msg("elected master")
	return nil
}

// stepDown ends this worker's term, if it has one. When it returns
// nothing is acknowledged any more.
func (e *election) stepDown(why string) {
	if e.term == nil {
		return
	}
	e.server.term.Store(nil)
	e.term.close()
	e.log.Warn().Uint64("epoch", e.term.epoch).Str("why", why).Msg("stepped down")
	e.term = nil
}

// follow follows the master that holds the lock, or the one that held it last:
// that connection may be broken, and is not used to decide anything.
func (e *election) follow(ctx context.Context, asSlave bool) {
	master := e.view.master.holder.Address
	if master == "" || master == e.registry.address.String() {
		return
	}
	epoch := e.view.inSync.Epoch
	if r := e.replica; r != nil && r.master == master && r.asSlave == asSlave && max(r.epoch, r.copied.Load()) >= epoch {
		return
	}
	e.stopFollowing()
	e.replica = &replica{
		master: master, asSlave: asSlave, epoch: epoch, self: e.self, store: e.store, news: e.changed,
		log: e.log.With().Str("master", e.view.master.holder.ID).Bool("as_slave", asSlave).Logger(),
	}
	e.replica.start(ctx)
	e.server.replica.Store(e.replica)
}

func (e *election) stopFollowing() {
	if e.replica == nil {
		return
	}
	e.server.replica.Store(nil)
	e.replica.stop()
	e.replica = nil
}

// register makes role the one registered.
func (e *election) register(ctx context.Context, role string) error {
	if e.registered == role {
		return nil
	}
	sent := time.Now()
	if err := e.registry.register(ctx, role); err != nil {
		e.registered = ""
		return err
	}
	e.lease.begin(sent)
	e.registered = role
	e.log.Info().Str("role", role).Msg("registered")
	return nil
}

// leave hands over: a lock that is given back can be taken at once.
func (e *election) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	e.stepDown("told to stop")
	e.stopFollowing()
	e.note(ctx, e.registry.deregister(ctx))
	if e.session == "" {
		return
	}
	for _, key := range []string{e.registry.masterKey(), e.registry.slaveKey()} {
		e.note(ctx, e.registry.release(ctx, key, e.session))
	}
	e.note(ctx, e.registry.closeSession(ctx, e.session))
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
