package proxy

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

const (
	// settleTime is what a handshake that was under way when StopAccepting was called
	// has to finish: the round trip of a far client.
	settleTime = 250 * time.Millisecond
	// queuePoll is how often StopAccepting looks whether the queue is empty.
	queuePoll = 5 * time.Millisecond
)

// beginLeaving has every shard leave the listeners; left is closed when all have.
func (p *Proxy) beginLeaving() (left <-chan struct{}) {
	p.listeners.open.Store(false)
	done := make(chan struct{})
	var remain atomic.Int64
	remain.Store(int64(len(p.shards)))
	p.broadcast(func(s *shard) {
		s.leaveListeners()
		if remain.Add(-1) == 0 {
			close(done)
		}
	})
	return done
}

// StopAccepting closes the ports. Every connection whose handshake was complete
// is accepted first, for which it waits when MaxConns is reached; when it
// returns the ports are closed. Those that another process keeps as well
// (Listener.Shared) are not: their clients wait for AcceptAgain, or for that process.
func (p *Proxy) StopAccepting() { _ = p.stopAccepting(context.Background()) }

// stopAccepting is StopAccepting with an end. When ctx's deadline passes first, the listeners
// are closed with what is in their queues; when ctx is cancelled, they stay
// open and nothing is lost. Either way it returns ctx's error.
func (p *Proxy) stopAccepting(ctx context.Context) error {
	l := &p.listeners
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.open.Load() {
		return nil
	}
	for _, fd := range l.own() {
		if err := sock.RefuseNewHandshakes(fd); err != nil {
			p.log.Error().Err(err).Msg("connections that arrive while the listener closes may be reset")
		}
	}
	err := p.emptyQueues(ctx)
	if errors.Is(err, context.Canceled) {
		for _, fd := range l.own() {
			sock.AllowNewHandshakes(fd)
		}
		return err
	}
	<-p.beginLeaving()
	l.stopAll()
	p.logListeners("listener closed")
	return err
}

func (p *Proxy) logListeners(what string) {
	for _, s := range p.listeners.sockets {
		p.log.Info().Str("label", s.Label).Stringer("listen", s.bound).Msg(what)
	}
}

// emptyQueues waits until handshakes under way are over and the shards have
// accepted all there is.
func (p *Proxy) emptyQueues(ctx context.Context) error {
	settled := p.clock.now() + int64(settleTime)
	tick := time.NewTicker(queuePoll)
	defer tick.Stop()
	for {
		waiting := 0
		for _, fd := range p.listeners.own() {
			n, err := sock.WaitingInQueue(fd)
			if err != nil {
				return err
			}
			waiting += n
		}
		if waiting == 0 && p.clock.now() >= settled || p.ended.Load() || !p.serving.Load() {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// AcceptAgain opens the ports again.
func (p *Proxy) AcceptAgain() error {
	l := &p.listeners
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.ended.Load() {
		return ErrClosed
	}
	if l.released {
		return ErrReleased
	}
	if l.open.Load() {
		return nil
	}
	if err := l.startAll(); err != nil {
		return err
	}
	p.logListeners("listener opened")
	p.broadcast(func(s *shard) { s.acceptAgain() })
	return nil
}
