package main

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/drain/handover"
	"github.com/rosproxy/rosproxy/proxy"
)

// turn is this process's turn to serve: at once, or, for a successor, when its
// predecessor lets it.
type turn struct {
	predecessor *handover.Predecessor // nil: none
	come        chan struct{}         // closed when it has come
	settled     chan struct{}         // closed when connections are accepted, by this process alone
	log         zerolog.Logger
}

func newTurn(p *handover.Predecessor, log zerolog.Logger) *turn {
	t := &turn{predecessor: p, come: make(chan struct{}), settled: make(chan struct{}), log: log}
	if p == nil {
		close(t.come)
	}
	return t
}

func (t *turn) hasCome() bool {
	select {
	case <-t.come:
		return true
	default:
		return false
	}
}

// await returns nil when the turn has come; errEnd when it never will. A
// successor's cannot come before known has returned, while its predecessor lives.
func (t *turn) await(ctx context.Context, known func(context.Context) error) error {
	if t.predecessor == nil {
		return nil
	}
	err := t.predecessor.Await(ctx, known)
	switch {
	case ctx.Err() != nil:
		return errEnd
	case errors.Is(err, handover.ErrCalledOff):
		t.log.Warn().Err(err).Msg("not taking over")
		return errEnd
	case err != nil:
		return err
	}
	close(t.come)
	return nil
}

// settle waits until every shard accepts connections, and until the
// predecessor has let go of the sockets.
func (t *turn) settle(ctx context.Context, data *proxy.Proxy) error {
	select {
	case <-t.come:
	case <-ctx.Done():
		return nil
	}
	if data.Heartbeat(ctx) != nil {
		return nil // the end: Serve says why
	}
	if t.predecessor != nil {
		if t.predecessor.Serving(ctx) != nil {
			return nil
		}
		t.predecessor.Close()
		data.LookAgain()
		t.log.Info().Int("pid", t.predecessor.PID).Msg("took over from the old process")
	}
	close(t.settled)
	return nil
}

// knownPoll is how often awaitKnown looks.
const knownPoll = 10 * time.Millisecond

// awaitKnown returns nil when every label has had an answer: a master, or that
// there is none. It returns the cause of ctx's end.
func (a *admin) awaitKnown(ctx context.Context) error {
	tick := time.NewTicker(knownPoll)
	defer tick.Stop()
	for !a.isKnown() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (a *admin) isKnown() bool {
	for _, state := range a.labelStates() {
		if state == discovery.Starting {
			return false
		}
	}
	return true
}
