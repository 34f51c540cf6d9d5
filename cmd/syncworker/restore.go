package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// lookEvery is how often a warm spare looks for a newer backup.
const lookEvery = 200 * time.Millisecond

// restoring is what a worker has of a backup to begin a group with.
type restoring struct {
	path     string
	replaces string // the history that the backup may replace
	warm     bool   // newer backups are read as they come
	log      zerolog.Logger
	news     chan<- struct{} // is told of each

	read atomic.Pointer[backup] // the newest; nil: none yet
	over atomic.Bool            // clients have written: no backup can be used any more
	seen os.FileInfo            // the file as it was when it was last looked at
}

// first reads the backup; a warm spare waits until there is one.
func (r *restoring) first(ctx context.Context) error {
	for waits := false; ; waits = true {
		err := r.look()
		if err == nil || !r.warm || !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if !waits {
			r.log.Info().Str("file", r.path).Msg("there is no backup yet: waiting for the first")
		}
		if sleep(ctx, lookEvery); ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// look reads the file if it is another one than before.
func (r *restoring) look() error {
	info, err := os.Stat(r.path)
	if err != nil {
		return fmt.Errorf("read backup: %w", err)
	}
	if r.seen != nil && os.SameFile(r.seen, info) && r.seen.ModTime().Equal(info.ModTime()) && r.seen.Size() == info.Size() {
		return nil
	}
	b, err := readBackup(r.path)
	if err != nil {
		return err
	}
	r.seen = info
	if before := r.read.Load(); before != nil && b.point == before.point {
		return nil
	} else if before != nil && !b.newer(before.point) {
		return fmt.Errorf("read backup %s: it goes to %v, and the one before went to %v: it is not taken", r.path, b.point, before.point)
	}
	r.read.Store(b)
	return nil
}

// follow reads newer backups as they come, until ctx ends or none can be used any more.
func (r *restoring) follow(ctx context.Context) {
	trouble := ""
	for {
		if sleep(ctx, lookEvery); ctx.Err() != nil || r.over.Load() {
			return
		}
		before := r.read.Load()
		switch err := r.look(); {
		case err != nil && err.Error() != trouble:
			trouble = err.Error()
			r.log.Warn().Err(err).Msg("backup is not taken")
		case err == nil:
			trouble = ""
		}
		if r.read.Load() != before {
			nudge(r.news)
		}
	}
}

// errNotRestored ends a worker whose backup is not what its label's group began with.
var errNotRestored = errors.New("the backup cannot begin the group")

// conflict says why the worker must not join the label's group as it is: it was
// started to begin one from a backup, and this one has other data.
func (e *election) conflict(v view) error {
	if e.restoring == nil || v.index == 0 {
		return nil
	}
	if e.joined {
		e.restoring.over.Store(!v.inSync.Pristine)
		return nil
	}
	c := e.candidate()
	if v.replaced(c) {
		return nil // by and by
	}
	if v.inSync.descends(c.backup) {
		e.joined = true
		e.log.Info().Stringer("backup", c.backup).Stringer("began_with", v.inSync.Restored).Msg("the group began with this history's backup: joining it")
		return nil
	}
	return fmt.Errorf("%w: label %s has data already, of history %s, and the backup goes to %v; --restore-over %s puts the backup in its place, once its workers are stopped",
		errNotRestored, e.registry.label, v.inSync.History, c.backup, v.inSync.History)
}

// candidate is what this worker brings to the election.
func (e *election) candidate() candidate {
	c := candidate{member: e.self, last: e.last, whole: e.replica != nil && e.replica.whole()}
	_, c.history = e.store.holds()
	if r := e.restoring; r != nil {
		c.backup, c.over = &r.read.Load().point, r.replaces
	}
	return c
}

// begin answers the in-sync set that this worker swaps in to be master, and puts
// the backup into the store if the group begins with it.
func (e *election) begin() inSync {
	next := e.view.inSync
	if e.view.index == 0 {
		next = e.last // of a Consul that was wiped; else nothing
	}
	c := e.candidate()
	next.Members = []member{e.self}
	next.Epoch = max(next.Epoch, e.last.Epoch) + 1
	if !e.wantsBackup(c) {
		if next.History == "" {
			next.History = newIncarnation()
		}
		return next
	}
	b := e.restoring.read.Load()
	if e.view.index == 0 || e.view.replaced(c) {
		next.History = newIncarnation()
	}
	origin := b.point
	next.Restored, next.Pristine = &origin, true
	e.store.replace(b.log, "") // of a history when the swap has succeeded
	return next
}

// wantsBackup reports whether the group begins with the backup rather than with
// what this worker has.
func (e *election) wantsBackup(c candidate) bool {
	if !e.view.begins(c) {
		return false
	}
	has := e.view.index > 0 && slices.Contains(e.view.inSync.Members, e.self) && !e.view.replaced(c)
	return !has || c.backup.newer(*e.view.inSync.Restored)
}

// renew ends the term of a master whose group nobody has written into when there
// is a newer backup than the one that it began with. The next step begins another
// term with that.
func (e *election) renew(ctx context.Context) error {
	if e.term == nil || e.restoring == nil || !e.term.untouched() || !e.wantsBackup(e.candidate()) {
		return nil
	}
	e.renewing = e.endTerm()
	return e.read(ctx)
}
