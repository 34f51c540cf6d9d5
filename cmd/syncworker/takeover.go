package main

import "context"

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
		if !e.view.mayLead(e.candidate()) {
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
	if e.view.index == 0 || e.view.inSync.Epoch != e.renewing {
		e.since = 0
	}
	next := e.begin()
	now, index, err := e.registry.swap(ctx, next, e.view.index)
	if err != nil {
		return err
	}
	e.view.inSync, e.view.index = now, index
	if !now.equal(next) {
		return nil // somebody was faster; the next step looks again
	}
	e.store.enter(now.History)
	e.last, e.joined = now, true
	if e.since == 0 {
		e.since = index
	}
	e.term = newTerm(ctx, now, index, e.self, e.store, e.lease, e.registry, e.alone, e.log)
	if e.reports.prefix != "" {
		e.term.fenced = make(chan struct{})
	}
	e.server.term.Store(e.term)
	e.log.Info().Uint64("epoch", now.Epoch).Str("history", now.History).Bool("pristine", now.Pristine).
		Int("records", e.store.size()).Msg("elected master")
	return nil
}

// stepDown ends this worker's term, if it has one, and says why. When it returns
// nothing is acknowledged any more.
func (e *election) stepDown(why string) {
	if e.term == nil {
		return
	}
	epoch := e.endTerm()
	e.log.Warn().Uint64("epoch", epoch).Str("why", why).Msg("stepped down")
}

func (e *election) endTerm() (epoch uint64) {
	epoch = e.term.epoch
	e.server.term.Store(nil)
	e.term.close()
	e.term = nil
	return epoch
}
