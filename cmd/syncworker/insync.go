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
	if settled && caughtUp && tm.writeDown(f.member) {
		tm.log.Info().Str("slave", f.member.ID).Int("records", target).Msg("slave is in sync")
		tm.require(f)
	}
}

// goAlone takes the slave out of the in-sync set and acknowledges without it.
func (tm *term) goAlone() {
	if tm.writeDown() {
		tm.log.Warn().Dur("waited", tm.alone).Msg("no slave: acknowledging alone")
		tm.require(nil)
	}
}

// writeDown makes self and others the in-sync set; it answers false when the
// term is over. It never gives up half-way: a write whose outcome is unknown
// may still take effect, until a later one is known to have.
func (tm *term) writeDown(others ...member) bool {
	next := inSync{Epoch: tm.epoch, Members: append([]member{tm.self}, others...)}
	for !tm.inSync.equal(next) {
		now, index, err := tm.arbiter.swap(tm.ctx, next, tm.index)
		switch {
		case err != nil:
			tm.log.Warn().Err(err).Msg("in-sync set not written")
			if !tm.await(nil) {
				return false
			}
		case now.Epoch != tm.epoch:
			tm.log.Warn().Uint64("by_epoch", now.Epoch).Msg("deposed")
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
