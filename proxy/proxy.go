// Package proxy is the data plane: it accepts clients, connects each to the
// current master of its label, moves the bytes, and cuts every connection of
// an epoch that is over.
//
// # Use
//
// New opens the listeners, Serve accepts until its context ends. Who is master
// is told by SetMaster and Lose; nothing in here knows where masters come
// from. A source that confirms its masters again and again also calls Confirm,
// and Lease where the right to connect to a master ends by itself. Shutdown
// drains. Snapshot and Connections look; Kill ends connections.
//
// # The path of a change of master
//
// SetMaster stores a new epoch for the label. That store is the fence: before
// each transfer a connection compares its epoch with the label's. Then every
// shard gets urgent mail, which it reads between any two events; it orders the
// cut of the earlier epochs' connections, masters' sides first, and SetMaster
// returns when the last is closed.
//
// # The path of a byte
//
// A shard is one goroutine with an epoll instance, which has both sockets of its
// connections. An event makes a connection readable or writable; relay moves
// what can be moved both ways, by a copy through the loop's buffer, or, while a
// direction streams, by splice(2) through a pipe. No byte costs an allocation or
// a lock.
//
// # Layers
//
// Each uses only those below it: Proxy (failovers, snapshots, shutdown); the
// shard (iterations, accepting, mail, cuts); a connection's states; a loop's
// services; labels; the system calls (internal/sock). README.md says which file
// is on which.
//
// # What it is not
//
// It does not choose masters, balance between several, look into the bytes, or
// speak TLS. It knows TCP alone, on Linux alone.
package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/rosproxy/rosproxy/proxy/internal/sock"
)

// Errors that callers may look for.
var (
	ErrUnknownLabel = errors.New("unknown label")   // no listener has that label
	ErrClosed       = errors.New("proxy is closed") // Serve has returned
	ErrReleased     = errors.New("the listeners were handed over")
)

// Proxy is the data plane of one process.
type Proxy struct {
	shared
	labels    []*label
	histories []*history // by label
	shards    []*shard
	listeners listeners
	guard     *leaseGuard // nil: no label needs one

	serving  atomic.Bool
	begun    chan struct{} // closed when the shards are reached by their mailboxes
	ended    atomic.Bool
	draining chan struct{} // one token: held by Shutdown
	pauses   chan struct{} // holds one element while watchPauses is to look at once
}

// New opens the listeners of c; nothing is accepted before Serve. An error
// names the listener or the setting and the reason, and leaves nothing open.
func New(c Config, log zerolog.Logger) (*Proxy, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	c.HoldMax = cmp.Or(c.HoldMax, 16384)
	c.Shards = cmp.Or(c.Shards, runtime.GOMAXPROCS(0))
	p := &Proxy{draining: make(chan struct{}, 1), begun: make(chan struct{}), pauses: make(chan struct{}, 1)}
	p.shared.config, p.shared.log, p.shared.clock, p.shared.headerTimeout = c, log.With().Str("component", "proxy").Logger(), newClock(), headerTimeout
	p.localCongestion = sock.LocalCongestion()
	if err := p.addLabels(); err != nil {
		return nil, err
	}
	if err := p.measure(); err != nil {
		return nil, err
	}
	p.slots.freed = func() { p.broadcast((*shard).acceptAgain) }
	for i := range c.Shards {
		s, err := newShard(&p.shared, p.labels, &p.listeners, i)
		if err != nil {
			p.close()
			return nil, fmt.Errorf("start shard %d: %w", i, err)
		}
		p.shards = append(p.shards, s)
	}
	for _, s := range p.shards {
		s.peers = p.shards
	}
	if err := p.listeners.openAll(context.Background()); err != nil {
		p.close()
		return nil, err
	}
	if err := p.guardLeases(); err != nil {
		p.close()
		return nil, err
	}
	for _, s := range p.listeners.sockets {
		p.log.Info().Str("label", s.Label).Stringer("listen", s.bound).Bool("inherited", s.File != nil).Msg("listener opened")
	}
	return p, nil
}

// addLabels makes the labels of the listeners, in their order.
func (p *Proxy) addLabels() error {
	known := map[string]*label{}
	p.listeners.options = p.options()
	for _, l := range p.config.Listeners {
		lb := known[l.Label]
		if lb == nil {
			s, err := settingsOf(&p.config, l)
			if err != nil {
				return fmt.Errorf("listener %q: %w", l.Label, err)
			}
			lb = newLabel(len(p.labels), l, s)
			known[l.Label] = lb
			if s.HoldTimeout > 0 { // else nobody waits
				lb.pace = newPace(s.ReleaseRate, p.config.Shards)
			}
			p.labels = append(p.labels, lb)
			p.histories = append(p.histories, newHistory())
		}
		p.listeners.sockets = append(p.listeners.sockets, listeningSocket{Listener: l, label: lb, fd: sock.NoFD})
	}
	return nil
}

// measure takes in what the machine has room for.
func (p *Proxy) measure() (err error) {
	most, err := RoomFor(p.config.Reserved)
	if err != nil {
		return err
	}
	room := capacityFor(p.config.MaxConns, p.config.Reserved, most.Descriptors, sock.PipePagesLimit())
	if p.config.MaxConns > most.Conns {
		p.log.Warn().Int("max_conns", p.config.MaxConns).Int("descriptors", most.Descriptors).Int("room", most.Conns).
			Msg("max-conns is more than the limit of open files has room for")
		if p.config.Reserved > 0 { // it would be taken from those that it is kept for
			room.conns = most.Conns
		}
	}
	p.slots.max, p.slots.emptied = int64(room.conns), make(chan struct{}, 1)
	p.waitingRoom = newWaitingRoom(p.config.HoldMax, len(p.labels), &p.slots)
	p.shared.pipes.limit, p.shared.pipes.openPipe = int64(room.pipes), sock.OpenPipe
	p.firstEphemeral, p.lastEphemeral = sock.EphemeralPorts()
	return nil
}

// Serve runs the shards until ctx ends or a shard fails, and returns when all
// of them have ended; then every listener and connection is closed. It may be
// called once. The error is nil when ctx ended.
func (p *Proxy) Serve(ctx context.Context) error {
	if !p.serving.CompareAndSwap(false, true) {
		return errors.New("proxy: Serve was called twice")
	}
	for _, s := range p.shards { // all of them before one accepts: it may hand a client to any other
		s.mail.start()
	}
	close(p.begun)
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range p.shards {
		group.Go(s.run)
	}
	group.Go(func() error {
		p.watchPauses(ctx)
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		p.ended.Store(true)
		p.broadcast(func(s *shard) { s.stopped = true })
		return nil
	})
	err := group.Wait()
	if wasOpen := p.close(); wasOpen {
		p.logListeners("listener closed")
	}
	return err
}

// close gives back what is not a connection's, and reports whether the listeners
// were open: nobody had stopped accepting, nor taken them over.
func (p *Proxy) close() (wasOpen bool) {
	p.ended.Store(true)
	p.listeners.mu.Lock() // a StopAccepting or AcceptAgain under way
	defer p.listeners.mu.Unlock()
	wasOpen = p.listeners.open.Load()
	p.listeners.closeAll()
	for _, s := range p.shards {
		s.close()
	}
	p.guard.close()
	return wasOpen
}

// Active is the number of client connections.
func (p *Proxy) Active() int { return int(p.slots.used.Load()) }

// broadcast has every shard run f between two events, when nothing urgent waits.
func (p *Proxy) broadcast(f func(*shard)) {
	p.broadcastTask(func(s *shard) task {
		return func() (more bool) {
			f(s)
			return false
		}
	})
}

// broadcastTask has every shard do the task that of makes for it.
func (p *Proxy) broadcastTask(of func(*shard) task) {
	for _, s := range p.shards {
		s.mail.postOrRun(of(s))
	}
}

func (p *Proxy) mustFind(name string) (*label, *history) {
	lb := p.find(name)
	if lb == nil {
		panic("proxy: no listener has the label " + name)
	}
	return lb, p.histories[lb.index]
}

func (p *Proxy) find(name string) *label {
	for _, lb := range p.labels {
		if lb.name == name {
			return lb
		}
	}
	return nil
}
