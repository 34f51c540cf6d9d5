package proxy

import (
	"context"
	"errors"
	"time"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// How a drain's deadline ends what is left: not in one stroke, which would
// bring all clients back at the same moment, but spread over the time before
// it, and gracefully where a connection is quiet.
const (
	// The closing window takes this part of the time that Shutdown has, and at
	// most longestWindow. Where that is less than shortestWindow there is none:
	// the peers could not answer in it.
	windowPart     = 5
	longestWindow  = 5 * time.Second
	shortestWindow = 100 * time.Millisecond
	// The last answerPart-th part of it is left to the peers that have had
	// their FIN last.
	answerPart = 5
	// windowSteps a window, none shorter than shortestStep.
	windowSteps  = 100
	shortestStep = 5 * time.Millisecond
)

// closingWindow is the time before a deadline in which connections are closed
// gracefully, in times of the clock. The zero value is none.
type closingWindow struct {
	begins int64
	spread int64 // by then each connection has had its try
	ends   int64 // the deadline
}

// newClosingWindow plans the window before ctx's deadline. There is none without
// a deadline, or when there is no time for it.
func (p *Proxy) newClosingWindow(ctx context.Context) closingWindow {
	deadline, ok := ctx.Deadline()
	left := time.Until(deadline)
	length := min(left/windowPart, longestWindow)
	if !ok || length < shortestWindow {
		return closingWindow{}
	}
	ends := p.clock.now() + int64(left)
	return closingWindow{begins: ends - int64(length), spread: ends - int64(length/answerPart), ends: ends}
}

func (w closingWindow) isNone() bool { return w.ends == 0 }

// step is the time between two steps of w.
func (w closingWindow) step() time.Duration {
	return max(time.Duration(w.ends-w.begins)/windowSteps, shortestStep)
}

// progress is the part of the connections that is to be closed by now.
func (w closingWindow) progress(now int64) float64 {
	return min(float64(now-w.begins)/float64(w.spread-w.begins), 1)
}

// Shutdown stops accepting and waits until the last connection has ended.
//
// When ctx has a deadline, the rest is ended by then (drain_deadline): in the
// last fifth of the time that Shutdown has, and at most 5 s, connections get
// FIN evenly spread, each in a moment in which nothing of it is on its way,
// and at the deadline what is still there is cut. Where that fifth is shorter
// than 100 ms all are cut at the deadline.
//
// When ctx is cancelled, nothing more is ended: the drain was called off.
// Connections that have had their FIN still go, by the deadline of before.
// Either way Shutdown returns ctx's error. One call waits at a time.
func (p *Proxy) Shutdown(ctx context.Context) error {
	select { // whatever ctx says: a deadline that has passed ends the rest at once
	case p.draining <- struct{}{}:
	default:
		select {
		case p.draining <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer func() { <-p.draining }()
	return p.shutdown(ctx, p.newClosingWindow(ctx))
}

func (p *Proxy) shutdown(ctx context.Context, w closingWindow) error {
	err := p.awaitEnd(ctx, w)
	if errors.Is(err, context.DeadlineExceeded) {
		if !w.isNone() {
			p.closeWaiting()
		}
		p.cutAll("", DrainDeadline)
	}
	return err
}

// awaitEnd stops accepting and waits until the last connection has ended or ctx has,
// whose error it returns.
func (p *Proxy) awaitEnd(ctx context.Context, w closingWindow) (err error) {
	// Beside the rest: a queue that is full of clients must not cost those
	// that are live their graceful close.
	stopped := make(chan error, 1)
	go p.stopAcceptingInto(ctx, stopped)
	isStopped, hasBegun := false, false
	step := time.NewTimer(time.Duration(w.begins - p.clock.now()))
	defer step.Stop()
	if w.isNone() {
		step.Stop()
	}
	for err == nil && !(isStopped && p.slots.used.Load() == 0) {
		select {
		case err = <-stopped:
			isStopped = true
		case <-p.slots.emptied:
		case <-ctx.Done():
			err = ctx.Err()
		case <-step.C:
			if !hasBegun {
				hasBegun = true
				p.beginClosing(w)
			}
			p.closeDue(w)
			step.Reset(w.step())
		}
	}
	if !isStopped {
		<-stopped
	}
	return err
}

func (p *Proxy) stopAcceptingInto(ctx context.Context, stopped chan<- error) {
	stopped <- p.stopAccepting(ctx)
}

// beginClosing has the shards begin to count.
func (p *Proxy) beginClosing(w closingWindow) {
	p.log.Info().Int("active", p.Active()).Dur("window_ms", time.Duration(w.ends-w.begins)).
		Msg("drain deadline near: closing connections one by one")
	p.broadcast(func(s *shard) {
		s.closed = 0
		s.conns.all(func(c *conn) { c.talked = 0 })
	})
}

// closeDue has each shard close as many connections as are due.
func (p *Proxy) closeDue(w closingWindow) {
	progress := w.progress(p.clock.now())
	p.broadcastTask(func(s *shard) task { return s.closeGracefully(progress, w.ends) })
}

// closeGracefully closes connections until progress of those that were here at
// the beginning of the window, and are, have been: one round, in pieces.
func (s *shard) closeGracefully(progress float64, until int64) task {
	here, due, counted, at := 0, 0, false, 0
	return func() (more bool) {
		if !counted {
			at = s.conns.some(at, slotsPerPiece, func(c *conn) {
				if c.state == relaying {
					here++
				}
			})
			if at < s.conns.size() {
				return true
			}
			due, counted, at = int(progress*float64(s.closed+here))-s.closed, true, 0
			return due > 0
		}
		if due > 0 {
			at = s.conns.some(at, slotsPerPiece, func(c *conn) {
				if due > 0 && c.state == relaying && c.closeForDrain(s.loop, until) {
					s.closed++
					due--
				}
			})
		}
		return due > 0 && at < s.conns.size()
	}
}

// closeWaiting ends the clients that have not reached a master, by FIN: they have
// been told nothing that could look whole. It returns when they are closed.
func (p *Proxy) closeWaiting() {
	// What a client has sent is delivered to nobody: it is cut by RST.
	p.cut(cutJob{reason: DrainDeadline, graceful: true}, func(c *conn) bool {
		return !c.state.hasReachedMaster() && sock.NothingToRead(int(c.sides[client].fd))
	})
}
