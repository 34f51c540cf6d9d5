package main

import "context"

// follow follows the master that holds the lock, or the one that held it last:
// that connection may be broken, and is not used to decide anything.
func (e *election) follow(ctx context.Context, asSlave bool) {
	master := e.view.master.holder.Address
	if master == "" || master == e.registry.address.String() {
		return
	}
	history, epoch := e.view.inSync.History, e.view.inSync.Epoch
	if r := e.replica; r != nil && r.master == master && r.asSlave == asSlave && r.history == history &&
		max(r.epoch, r.copied.Load()) >= epoch {
		return
	}
	e.stopFollowing()
	e.replica = &replica{
		master: master, asSlave: asSlave, history: history, epoch: epoch, self: e.self, store: e.store, news: e.changed,
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
