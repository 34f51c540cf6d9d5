// Package upgrade replaces the process by a new one, with the same listening
// sockets and no moment in which nobody serves: Upgrader is the old process's
// side, Takeover the new one's, and Endpoints what answers on either.
package upgrade

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/events"
	"github.com/rosproxy/rosproxy/drain/handover"
	"github.com/rosproxy/rosproxy/proxy"
)

// ErrNotNeeded is returned by Await when this process is not to serve.
var ErrNotNeeded = errors.New("not taking over")

// Takeover is the beginning of this process's service: at once, or, for a
// successor, when its predecessor lets it.
type Takeover struct {
	predecessor *handover.Predecessor // nil: none
	allowed     chan struct{}         // closed when this process may serve
	settled     chan struct{}         // closed when connections are accepted, by this process alone
	events      *events.Recent
	log         zerolog.Logger
}

// NewTakeover makes the Takeover of a process with that predecessor; nil: it has none.
func NewTakeover(p *handover.Predecessor, recent *events.Recent, log zerolog.Logger) *Takeover {
	t := &Takeover{predecessor: p, allowed: make(chan struct{}), settled: make(chan struct{}), events: recent, log: log}
	if p == nil {
		close(t.allowed)
	}
	return t
}

// Allowed is closed when this process may serve.
func (t *Takeover) Allowed() <-chan struct{} { return t.allowed }

// Settled is closed when connections are accepted, by this process alone.
func (t *Takeover) Settled() <-chan struct{} { return t.settled }

// IsAllowed reports whether Allowed is closed.
func (t *Takeover) IsAllowed() bool {
	select {
	case <-t.allowed:
		return true
	default:
		return false
	}
}

// Await returns nil when this process may serve, and ErrNotNeeded when it never
// will. A successor may not before known has returned, while its predecessor
// lives; inherit is called when it may, before anybody learns that.
func (t *Takeover) Await(ctx context.Context, known func(context.Context) error, inherit func()) error {
	if t.predecessor == nil {
		return nil
	}
	err := t.predecessor.Await(ctx, known)
	switch {
	case ctx.Err() != nil:
		return ErrNotNeeded
	case errors.Is(err, handover.ErrCalledOff):
		t.log.Warn().Err(err).Msg("not taking over")
		return ErrNotNeeded
	case err != nil:
		return err
	}
	inherit()
	close(t.allowed)
	return nil
}

// Settle waits until every shard accepts connections, and until the
// predecessor does not any more. It returns ErrNotNeeded when that goes on instead.
func (t *Takeover) Settle(ctx context.Context, p *proxy.Proxy) error {
	select {
	case <-t.allowed:
	case <-ctx.Done():
		return nil
	}
	if p.Heartbeat(ctx) != nil {
		return nil // the end: Serve says why
	}
	if t.predecessor != nil {
		switch err := t.predecessor.Serving(ctx); {
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed): // the end, which the predecessor knows of
			return nil
		case errors.Is(err, handover.ErrCalledOff):
			t.log.Warn().Err(err).Msg("not taking over")
			return ErrNotNeeded
		case err != nil:
			return fmt.Errorf("take over: %w", err)
		}
		p.Rearm()
		t.events.Tell(t.log, zerolog.InfoLevel, event, "took over from the old process", "pid", t.predecessor.PID)
	}
	close(t.settled)
	return nil
}
