package main

import "time"

// retryEvery is the pause between two attempts to write the in-sync set, and
// the longest that a need to change it goes unnoticed.
const retryEvery = 100 * time.Millisecond

// aliveWithin: a follower that lags behind is waited for only if it was heard
// of within this time. A hung one would be waited for again and again.
const aliveWithin = time.Second

// keepInSync owns the in-sync set while the office lasts: it admits the slave
// once that has a complete copy, and drops it when a record has waited for it
// too long.
func (o *office) keepInSync() {
	defer close(o.done)
	ticker := time.NewTicker(retryEvery)
	defer ticker.Stop()
	for {
		switch f, alone := o.wanted(); {
		case f != nil:
			o.admit(f)
		case alone:
			o.goAlone()
		}
		select {
		case <-o.ctx.Done():
			return
		case <-o.news:
		case <-ticker.C:
		}
	}
}

// wanted answers the follower that should be put into the in-sync set now, or
// whether the master should go on alone.
func (o *office) wanted() (f *follower, alone bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if s := o.slave; s != nil && s.whole && s != o.named && (s.acked >= o.commit || time.Since(s.heard) < aliveWithin) {
		return s, false
	}
	if o.open && len(o.required) == 0 {
		return nil, false // it is alone already
	}
	return nil, o.lateLocked()
}

// lateLocked tells whether a record has waited long enough to go on alone.
func (o *office) lateLocked() bool {
	return o.alone > 0 && len(o.waiting) > 0 && time.Since(o.waiting[0].since) >= o.alone
}

// admit puts f into the in-sync set in place of whoever was there.
//
// The order is what makes an incomplete copy impossible: first nothing is
// acknowledged without f any more, then f catches up with all that was
// acknowledged before, and only then the set names it.
func (o *office) admit(f *follower) {
	o.mu.Lock()
	o.required[f] = true
	target := o.store.size()
	o.mu.Unlock()

	caughtUp := false
	settled := o.await(func() bool {
		caughtUp = f.acked >= target && !f.gone
		if gaveUp := f.gone || o.lateLocked(); !caughtUp && gaveUp {
			delete(o.required, f) // no write of the set was begun for it
			o.advanceLocked()
			return true
		}
		return caughtUp
	})
	if settled && caughtUp && o.writeDown(f.member) {
		o.log.Info().Str("slave", f.member.ID).Int("records", target).Msg("slave is in sync")
		o.require(f)
	}
}

// goAlone takes the slave out of the in-sync set and acknowledges without it.
func (o *office) goAlone() {
	if o.writeDown() {
		o.log.Warn().Dur("waited", o.alone).Msg("no slave: acknowledging alone")
		o.require(nil)
	}
}

// writeDown makes self and others the in-sync set; it answers false when the
// office is over. It never gives up half-way: a write whose outcome is unknown
// may still take effect, until a later one is known to have.
func (o *office) writeDown(others ...member) bool {
	next := inSync{Epoch: o.epoch, Members: append([]member{o.self}, others...)}
	for !o.inSync.equal(next) {
		now, index, err := o.arbiter.swap(o.ctx, next, o.index)
		switch {
		case err != nil:
			o.log.Warn().Err(err).Msg("in-sync set not written")
			if !o.await(nil) {
				return false
			}
		case now.Epoch != o.epoch:
			o.log.Warn().Uint64("by_epoch", now.Epoch).Msg("deposed")
			o.end(errDeposed)
			return false
		default:
			o.inSync, o.index = now, index
		}
	}
	return o.ctx.Err() == nil
}

// require makes f, which the in-sync set now names, the one follower that
// acknowledgements wait for; nil: the set names none, and they wait for nobody.
func (o *office) require(f *follower) {
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.required)
	if f != nil {
		o.required[f] = true
	}
	o.named, o.open = f, true
	o.advanceLocked()
}

// await waits until ready, which is called with mu held; nil is ready at the
// next tick. It answers false when the office is over.
func (o *office) await(ready func() bool) bool {
	ticker := time.NewTicker(retryEvery)
	defer ticker.Stop()
	for {
		if ready != nil {
			o.mu.Lock()
			ok := ready()
			o.mu.Unlock()
			if ok {
				return true
			}
		}
		select {
		case <-o.ctx.Done():
			return false
		case <-o.news:
		case <-ticker.C:
			if ready == nil {
				return true
			}
		}
	}
}
