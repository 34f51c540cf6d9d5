package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

const (
	// settleTime is what a handshake that was under way when Pause was called
	// has to finish: the round trip of a far client.
	settleTime = 250 * time.Millisecond
	// queuePoll is how often Pause looks whether the queue is empty.
	queuePoll = 5 * time.Millisecond
)

// Listener is one address that clients connect to, and the label whose master
// they get. Several may have the same label.
type Listener struct {
	Label   string
	Address string // HOST:PORT; an empty or IPv6-any host is dual-stack

	// Revalidate: after the process stood still, how long nothing goes to the
	// label's master unless Confirm names it. 0: masters need no confirmation;
	// negative: however long it takes. Of several listeners of a label the
	// first counts.
	Revalidate time.Duration

	// File is a socket that listens already, to be used instead of opening
	// Address; nil: none. New makes a copy, File stays the caller's.
	File *os.File
	// Shared: another process keeps that socket as well, and with it the
	// clients in its queue. A pause then leaves it as it is.
	Shared bool
}

// listeners are the sockets that clients connect to. The shards have them in
// their epolls; they are opened and closed here alone.
type listeners struct {
	options sock.Options

	mu      sync.Mutex        // held over a whole Pause or Resume
	sockets []listeningSocket // as configured
	open    atomic.Bool

	released bool // guarded by mu: another process has taken the sockets over
}

type listeningSocket struct {
	Listener
	label *label
	fd    int // sock.NoFD: closed
	bound netip.AddrPort
}

// openAll opens every listener.
func (l *listeners) openAll(ctx context.Context) error {
	for i := range l.sockets {
		s := &l.sockets[i]
		var err error
		if s.fd, s.bound, err = s.open(ctx, l.options); err != nil { // bound is written once: readers need no lock
			l.closeAll()
			return fmt.Errorf("listener %q: %w", s.Label, err)
		}
	}
	l.open.Store(true)
	return nil
}

func (s *listeningSocket) open(ctx context.Context, o sock.Options) (fd int, bound netip.AddrPort, err error) {
	if s.File != nil {
		return sock.Adopt(s.File, o)
	}
	return sock.Listen(ctx, s.Address, o)
}

// stopAll closes the ports of the listeners, for every process that has the
// sockets: one that drains keeps copies, and would go on filling a queue of
// which nobody takes. Those that another process keeps as well stay: a
// startAll would not get them back.
func (l *listeners) stopAll() {
	l.open.Store(false)
	for _, fd := range l.own() {
		sock.StopListening(fd)
	}
}

// startAll undoes stopAll. The sockets are the same, in every process that has them.
func (l *listeners) startAll() error {
	for _, s := range l.sockets {
		if s.Shared {
			continue
		}
		if err := sock.StartListening(s.fd, s.bound); err != nil {
			l.stopAll()
			return fmt.Errorf("listener %q: listen on %q: %w", s.Label, s.bound, err)
		}
	}
	l.open.Store(true)
	return nil
}

func (s *listeningSocket) close() {
	if s.fd != sock.NoFD {
		sock.Close(s.fd)
		s.fd = sock.NoFD
	}
}

// closeAll gives back every descriptor.
func (l *listeners) closeAll() {
	l.open.Store(false)
	for i := range l.sockets {
		l.sockets[i].close()
	}
}

// own are the sockets that no other process keeps.
func (l *listeners) own() []int {
	var own []int
	for _, s := range l.sockets {
		if s.fd != sock.NoFD && !s.Shared {
			own = append(own, s.fd)
		}
	}
	return own
}

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

// Pause stops accepting. Every connection whose handshake was complete is
// accepted first, for which it waits when MaxConns is reached; when Pause
// returns the ports are closed. Those that another process keeps as well
// (Listener.Shared) are not: their clients wait for Resume, or for that process.
func (p *Proxy) Pause() { _ = p.pause(context.Background()) }

// pause is Pause with an end. When ctx's deadline passes first, the listeners
// are closed with what is in their queues; when ctx is cancelled, they stay
// open and nothing is lost. Either way it returns ctx's error.
func (p *Proxy) pause(ctx context.Context) error {
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

// Resume opens the ports again.
func (p *Proxy) Resume() error {
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
	if p.serving.Load() {
		p.broadcast(func(s *shard) { s.acceptAgain() })
	}
	return nil
}
