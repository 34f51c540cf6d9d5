package main

import "time"

// retryEvery is the pause between two attempts to write the in-sync set, and
// the longest that a need to change it goes unnoticed.
const retryEvery = 100 * time.Millisecond

// aliveWithin: a follower that lags behind is waited for only if it was heard
// of within this time. A hung one would be waited for again and again.
const aliveWithin = time.Second

// keepInSync owns the in-sync set while the term lasts: it admits the slave
// once that has a complete copy, and drops it when a record has waited for it
// too long.
func (tm *term) keepInSync() {
	defer close(tm.done)
	ticker := time.NewTicker(retryEvery)
	defer ticker.Stop()
	for {
		switch f, alone := tm.wanted(); {
		case tm.written():
			tm.leavePristine()
		case f != nil:
			tm.admit(f)
		case alone:
			tm.goAlone()
		}
		select {
		case <-tm.ctx.Done():
			return
		case <-tm.news:
		case <-ticker.C:
		}
	}
}

// wanted answers the follower that should be put into the in-sync set now, or
// whether the master should go on alone.
func (tm *term) wanted() (f *follower, alone bool) {
	tm.mu.Lock()
	defer tm.mu.Unlock()
	if s := tm.slave; s != nil && s.whole && s != tm.named && (s.acked >= tm.commit || time.Since(s.heard) < aliveWithin) {
		return s, false
	}
	if tm.open && len(tm.required) == 0 {
		return nil, false // it is alone already
	}
	return nil, tm.lateLocked()
}

// lateLocked reports whether a record has waited long enough to go on alone.
func (tm *term) lateLocked() bool {
	return tm.alone > 0 && len(tm.waiting) > 0 && time.Since(tm.waiting[0].since) >= tm.alone
}

// written reports whether a client has written into a history that still is pristine.
func (tm *term) written() bool {
	tm.mu.Lock()
	defer tm.mu.Unlock()
	return tm.pristine && len(tm.waiting) > 0
}

// leavePristine has the set say that there is more in the history than the
// backup: from then on no other backup may take the place of that one.
func (tm *term) leavePristine() {
	next := tm.inSync
	next.Pristine = false
	if !tm.writeDown(next) {
		return
	}
	tm.mu.Lock()
	defer tm.mu.Unlock()
	tm.pristine = false
	tm.advanceLocked()
}

// untouched reports whether no client's record was acknowledged in the history.
func (tm *term) untouched() bool {
	tm.mu.Lock()
	defer tm.mu.Unlock()
	return tm.pristine
}

// admit puts f into the in-sync set in place of whoever was there.
//
// The order is what makes an incomplete copy impossible: first nothing is
// acknowledged without f any more, then f catches up with all that was
// acknowledged before, and only then the set names it.
func (tm *term) admit(f *follower) {
	tm.mu.Lock()
	tm.required[f] = true
	target := tm.store.size()
	tm.mu.Unlock()

	caughtUp := false
	settled := tm.await(func() bool {
		caughtUp = f.acked >= target && !f.gone
		if gaveUp := f.gone || tm.lateLocked(); !caughtUp && gaveUp {
			delete(tm.required, f) // no write of the set was begun for it
			tm.advanceLocked()
			return true
		}
		return caughtUp
	})
	if settled && caughtUp && tm.writeDown(tm.among(f.member)) {
		tm.log.Info().Str("slave", f.member.ID).Int("records", target).Msg("slave is in sync")
		tm.require(f)
	}
}

// goAlone takes the slave out of the in-sync set and acknowledges without it.
func (tm *term) goAlone() {
	if tm.writeDown(tm.among()) {
		tm.log.Warn().Dur("waited", tm.alone).Msg("no slave: acknowledging alone")
		tm.require(nil)
	}
}

// among is the set with other members beside the master.
func (tm *term) among(others ...member) inSync {
	next := tm.inSync
	next.Members = append([]member{tm.self}, others...)
	return next
}

// writeDown makes next the in-sync set; it answers false when the term is over.
// It never gives up half-way: a write whose outcome is unknown may still take
// effect, until a later one is known to have.
func (tm *term) writeDown(next inSync) bool {
	for !tm.inSync.equal(next) {
		now, index, err := tm.arbiter.swap(tm.ctx, next, tm.index)
		switch {
		case err != nil:
			tm.log.Warn().Err(err).Msg("in-sync set not written")
			if !tm.await(nil) {
				return false
			}
		case !now.sameTerm(tm.inSync):
			tm.log.Warn().Uint64("by_epoch", now.Epoch).Str("of_history", now.History).Msg("deposed")
			tm.end(errDeposed)
			return false
		default:
			tm.inSync, tm.index = now, index
		}
	}
	return tm.ctx.Err() == nil
}

// require makes f, which the in-sync set now names, the one follower that
// acknowledgements wait for; nil: the set names none, and they wait for nobody.
func (tm *term) require(f *follower) {
	tm.mu.Lock()
	defer tm.mu.Unlock()
	clear(tm.required)
	if f != nil {
		tm.required[f] = true
	}
	tm.named, tm.open = f, true
	tm.advanceLocked()
}

// await waits until ready, which is called with mu held; nil is ready at the
// next tick. It answers false when the term is over.
func (tm *term) await(ready func() bool) bool {
	ticker := time.NewTicker(retryEvery)
	defer ticker.Stop()
	for {
		if ready != nil {
			tm.mu.Lock()
			ok := ready()
			tm.mu.Unlock()
			if ok {
				return true
			}
		}
		select {
		case <-tm.ctx.Done():
			return false
		case <-tm.news:
		case <-ticker.C:
			if ready == nil {
				return true
			}
		}
	}
}
