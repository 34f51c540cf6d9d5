// Package proxy is the data plane: it accepts clients, connects each to the
// current master of its label, moves the bytes, and cuts every connection of
// an epoch that is over.
//
// Nothing in it knows where masters come from: a source of masters is
// anything that calls SetMaster and Suspend.
package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"
)

// Errors that callers may look for.
var (
	ErrUnknownLabel = errors.New("unknown label")   // no listener has that label
	ErrClosed       = errors.New("proxy is closed") // Serve has returned
	ErrReleased     = errors.New("the listeners were handed over")
)

// Listener is one address that clients connect to, and the label whose master they get.
type Listener struct {
	Label   string // unique in a Config
	Address string // HOST:PORT; an empty or IPv6-any host is dual-stack

	// File is a socket that listens already, to be used instead of opening
	// Address; nil: none. New makes a copy, File stays the caller's.
	File *os.File
	// Shared: another process keeps that socket as well, and with it the
	// clients in its queue. A pause then leaves it as it is.
	Shared bool
}

// Config is fixed for the life of a Proxy.
type Config struct {
	Listeners []Listener

	HoldTimeout      time.Duration // how long a new client waits for a master that accepts it; 0: reset at once
	HoldMax          int           // most clients held at a time; 0: 16384
	ConnectTimeout   time.Duration // one attempt to connect to the master; 0: 2s
	DropFIN          bool          // a cut ends client connections by FIN instead of RST
	MaxConns         int           // client connections at a time; 0: what RLIMIT_NOFILE allows
	IdleTimeout      time.Duration // no byte either way; 0: never
	HalfCloseTimeout time.Duration // one side has closed, the other sends nothing; 0: never
	KeepAlive        time.Duration // TCP keepalive on both sides; 0: off
	UserTimeout      time.Duration // TCP_USER_TIMEOUT on both sides; 0: off
	Shards           int           // event loops; 0: GOMAXPROCS
	LogConnections   bool          // log closed connections at info instead of debug

	AcceptProxy     bool           // every connection must begin with a PROXY protocol header, version 1 or 2
	AcceptProxyFrom []netip.Prefix // with AcceptProxy: only these peers may connect; none: any
	SendProxy       ProxyVersion   // of the header sent to the master first; 0: none
}

// Master is who holds the office of a label. The zero Master is nobody.
type Master struct {
	Address   netip.AddrPort
	ServiceID string
	Node      string
	Seen      time.Time // when the answer that named it arrived; zero: not known
}

// Cut tells what one call of SetMaster did.
type Cut struct {
	ID       string // empty when the call was no failover: nobody was in office, or the same still is
	At       time.Time
	Label    string
	From, To string        // address:port; empty: none
	Epoch    uint64        // the epoch that began
	Dropped  int           // connections reset
	Carried  int           // clients, not yet connected, that were carried to the new master
	Fence    time.Duration // from the store to the last shard's word that it has seen it
	Duration time.Duration // from the store until the last old connection was closed
	Detect   time.Duration // from Master.Seen to the store; 0: not known
}

// Proxy is the data plane of one process.
type Proxy struct {
	config    Config
	log       zerolog.Logger
	started   time.Time
	offices   []*office // by listener
	shards    []*shard
	listeners listeners
	slots     slots
	pipes     pipeBudget
	held      atomic.Int64
	trusted   trusted

	headerTimeout time.Duration // the constant, but for tests

	firstEphemeral, lastEphemeral uint16

	serving      atomic.Bool
	begun        chan struct{} // closed when the shards are reached by their mailboxes
	ended        atomic.Bool
	draining     chan struct{} // one token: held by Shutdown
	lastShortage atomic.Int64  // clock of the last warning
}

// New opens the listeners of c; nothing is accepted before Serve. An error
// names the listener or the setting and the reason, and leaves nothing open.
func New(c Config, log zerolog.Logger) (*Proxy, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	trusted, err := trustedOf(c.AcceptProxyFrom)
	if err != nil {
		return nil, err
	}
	descriptors, err := descriptorLimit()
	if err != nil {
		return nil, err
	}
	room := capacityFor(c.MaxConns, descriptors, pipePagesLimit())
	if most := capacityFor(0, descriptors, pipePagesLimit()).conns; c.MaxConns > most {
		log.Warn().Str("component", "proxy").Int("max_conns", c.MaxConns).Int("descriptors", descriptors).Int("room", most).
			Msg("max-conns is more than the limit of open files has room for")
	}
	c.HoldMax = cmp.Or(c.HoldMax, 16384)
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, 2*time.Second)
	c.Shards = cmp.Or(c.Shards, runtime.GOMAXPROCS(0))
	p := &Proxy{
		config: c, log: log.With().Str("component", "proxy").Logger(), started: time.Now(),
		listeners: listeners{
			configured: c.Listeners, options: socketOptions{keepAlive: c.KeepAlive, userTimeout: c.UserTimeout},
			fds: make([]int, len(c.Listeners)), bound: make([]netip.AddrPort, len(c.Listeners)),
		},
		slots:    slots{max: int64(room.conns), emptied: make(chan struct{}, 1)},
		draining: make(chan struct{}, 1),
		begun:    make(chan struct{}),
		trusted:  trusted, headerTimeout: headerTimeout,
	}
	p.slots.freed = func() { p.tell(func(s *shard) { s.acceptAgain() }) }
	p.pipes.limit.Store(int64(room.pipes))
	p.firstEphemeral, p.lastEphemeral = ephemeralPorts()
	for i, l := range c.Listeners {
		p.offices = append(p.offices, newOffice(l.Label))
		p.listeners.fds[i] = noFD
	}
	for i := range c.Shards {
		s, err := newShard(p, i)
		if err != nil {
			p.close()
			return nil, fmt.Errorf("start shard %d: %w", i, err)
		}
		p.shards = append(p.shards, s)
	}
	if err := p.listeners.openAll(context.Background()); err != nil {
		p.close()
		return nil, err
	}
	for i, at := range p.listeners.bound {
		p.log.Info().Str("label", c.Listeners[i].Label).Stringer("listen", at).Bool("inherited", c.Listeners[i].File != nil).Msg("listener opened")
	}
	return p, nil
}

func (c *Config) validate() error {
	if len(c.Listeners) == 0 {
		return errors.New("no listener configured")
	}
	seen := map[string]bool{}
	for _, l := range c.Listeners {
		if seen[l.Label] {
			return fmt.Errorf("label %q has two listeners", l.Label)
		}
		if c.SendProxy != ProxyOff && len(l.Label) > longestLabel {
			return fmt.Errorf("label %q is longer than the %d bytes that a PROXY header carries", l.Label, longestLabel)
		}
		seen[l.Label] = true
	}
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
		<-ctx.Done()
		p.ended.Store(true)
		p.tell(func(s *shard) { s.stopped = true })
		return nil
	})
	err := group.Wait()
	p.close()
	return err
}

// close gives back what is not a connection's.
func (p *Proxy) close() {
	p.ended.Store(true)
	p.listeners.mu.Lock() // a Pause or Resume under way
	defer p.listeners.mu.Unlock()
	p.listeners.closeAll()
	for _, s := range p.shards {
		s.close()
	}
}

// Active is the number of client connections.
func (p *Proxy) Active() int { return int(p.slots.used.Load()) }

// Shutdown pauses and waits until the last connection has ended.
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
	select {
	case p.draining <- struct{}{}:
		defer func() { <-p.draining }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return p.shutdown(ctx, p.newFarewell(ctx))
}

func (p *Proxy) shutdown(ctx context.Context, last farewell) error {
	err := p.awaitEnd(ctx, last)
	if errors.Is(err, context.DeadlineExceeded) {
		if !last.isNone() {
			p.dismiss()
		}
		p.cutAll("", DrainDeadline)
	}
	return err
}

// awaitEnd pauses and waits until the last connection has ended or ctx has,
// whose error it returns.
func (p *Proxy) awaitEnd(ctx context.Context, last farewell) (err error) {
	// Beside the rest: a queue that is full of clients must not cost those
	// that are live their farewell.
	paused := make(chan error, 1)
	go p.pauseAndSay(ctx, paused)
	isPaused, hasBegun := false, false
	step := time.NewTimer(time.Duration(last.begins - p.clock()))
	defer step.Stop()
	if last.isNone() {
		step.Stop()
	}
	for err == nil && !(isPaused && (p.slots.used.Load() == 0 || p.ended.Load())) {
		select {
		case err = <-paused:
			isPaused = true
		case <-p.slots.emptied:
		case <-ctx.Done():
			err = ctx.Err()
		case <-step.C:
			if !hasBegun {
				hasBegun = true
				p.beginFarewell(last)
			}
			p.part(last)
			step.Reset(last.step())
		}
	}
	if !isPaused {
		<-paused
	}
	return err
}

func (p *Proxy) pauseAndSay(ctx context.Context, paused chan<- error) { paused <- p.pause(ctx) }

// tell has every shard run f between two events.
func (p *Proxy) tell(f func(*shard)) {
	for _, s := range p.shards {
		s.mail.postOrRun(func() { f(s) })
	}
}

// clock is the time since New in nanoseconds, never zero.
func (p *Proxy) clock() int64 { return int64(time.Since(p.started)) + 1 }

func (p *Proxy) officeOf(label string) *office {
	for _, o := range p.offices {
		if o.label == label {
			return o
		}
	}
	return nil
}

func (p *Proxy) isEphemeral(port uint16) bool {
	return p.firstEphemeral <= port && port <= p.lastEphemeral
}

// shortageWarnings are at least this far apart: a full proxy pauses and
// resumes with every client that leaves.
const shortageWarnings = time.Minute

func (p *Proxy) warnShortage(of string) {
	now := p.clock()
	last := p.lastShortage.Load()
	if last != 0 && now-last < int64(shortageWarnings) || !p.lastShortage.CompareAndSwap(last, now) {
		return
	}
	p.log.Warn().Str("reason", of).Int("active", p.Active()).Msg("accepting paused, clients wait in the listen queue")
}
