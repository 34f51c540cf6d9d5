package proxy

import (
	"crypto/rand"
	"encoding/hex"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// epoch is one master's time in office. A connection belongs to the epoch it
// was dialled in, and dies with it.
type epoch struct {
	number    uint64
	address   netip.AddrPort // of the master; zero: an epoch of nobody
	since     time.Time
	suspended atomic.Bool // the master is gone for now, and no other elected
}

// takesClients tells whether a new connection may be dialled.
func (e *epoch) takesClients() bool { return e.address.IsValid() && !e.suspended.Load() }

// office is the mastership of one label. Its current epoch is the fence:
// every shard compares a connection's epoch with it before each transfer, so
// from the moment it is stored none begins for an earlier epoch.
type office struct {
	label   string
	current atomic.Pointer[epoch]

	change sync.Mutex // held over a whole SetMaster or Suspend: one change at a time

	mu        sync.Mutex
	holder    Master // guarded by mu, as the rest
	last      *Cut
	failovers uint64
	dropped   uint64
	fence     histogram
	cut       histogram
}

func newOffice(label string) *office {
	o := &office{label: label, fence: newHistogram(fenceBounds), cut: newHistogram(cutBounds)}
	o.current.Store(&epoch{since: time.Now()})
	return o
}

// SetMaster makes m the master of label.
//
// A repeat of the address that already holds the office is no failover: it
// ends a Suspend and refreshes ServiceID and Node, nothing else. Any other
// address begins a new epoch: when SetMaster returns, no connection to the
// previous master is open and none can appear, and clients that had not
// reached it are on their way to m. The zero Master begins an epoch of nobody:
// live connections are cut, new ones held.
//
// It panics for an unknown label: labels are fixed when the proxy is made.
func (p *Proxy) SetMaster(label string, m Master) Cut {
	o := p.mustOffice(label)
	o.change.Lock()
	defer o.change.Unlock()

	old := o.current.Load()
	if m.Address == old.address {
		o.hold(m)
		if old.suspended.Swap(false) {
			p.tell(func(s *shard) { s.dialHeld(o) })
		}
		return Cut{}
	}

	e := &epoch{number: old.number + 1, address: m.Address, since: time.Now()}
	c := p.replace(o, e)
	c.From, c.To = name(old.address), name(m.Address)
	o.hold(m)
	if !m.Seen.IsZero() {
		c.Detect = e.since.Sub(m.Seen)
	}
	if !old.address.IsValid() { // nobody was in office: an election, not a failover
		p.log.Info().Str("label", label).Str("to", c.To).Uint64("epoch", c.Epoch).Int("carried", c.Carried).Msg("master elected")
		return c
	}
	c.ID = newID()
	o.record(c)
	p.logFailover(c)
	return c
}

// replace stores e and returns when every shard has seen it and the
// connections of earlier epochs are closed.
func (p *Proxy) replace(o *office, e *epoch) Cut {
	type word struct {
		seen             time.Duration // after the store
		dropped, carried int
	}
	words := make(chan word, len(p.shards))
	closed := make(chan struct{}, len(p.shards))
	c := Cut{At: e.since, Label: o.label, Epoch: e.number}

	begin := time.Now()
	o.current.Store(e)
	p.tell(func(s *shard) {
		w := word{seen: sinceInMicros(begin)}
		victims, carried := s.outOfOffice(o)
		w.dropped, w.carried = len(victims), carried
		words <- w
		s.cut(victims, Failover, func() { closed <- struct{}{} })
		s.dialHeld(o)
	})
	for range p.shards {
		w := <-words
		c.Fence = max(c.Fence, w.seen)
		c.Dropped += w.dropped
		c.Carried += w.carried
	}
	for range p.shards {
		<-closed
	}
	c.Duration = sinceInMicros(begin)
	return c
}

// sinceInMicros is as exact as the log shows it, so that a failover's times are
// the same there, in the metrics and in a Snapshot.
func sinceInMicros(t time.Time) time.Duration { return time.Since(t).Truncate(time.Microsecond) }

// Suspend says that label has no master at the moment: live connections stay,
// new ones are held until SetMaster.
//
// It panics for an unknown label.
func (p *Proxy) Suspend(label string) {
	o := p.mustOffice(label)
	o.change.Lock()
	defer o.change.Unlock()
	o.current.Load().suspended.Store(true)
}

func (p *Proxy) mustOffice(label string) *office {
	o := p.officeOf(label)
	if o == nil {
		panic("proxy: no listener has the label " + label)
	}
	return o
}

func (o *office) hold(m Master) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.holder = m
}

func (o *office) record(c Cut) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last = &c
	o.failovers++
	o.dropped += uint64(c.Dropped)
	o.fence.observe(c.Fence)
	o.cut.observe(c.Duration)
}

func (p *Proxy) logFailover(c Cut) {
	e := p.log.Info().Str("label", c.Label).Str("id", c.ID).Str("from", c.From).Str("to", c.To).
		Uint64("epoch", c.Epoch).Int("dropped", c.Dropped).Int("carried", c.Carried).
		Int64("fence_us", c.Fence.Microseconds()).Float64("cut_ms", milliseconds(c.Duration))
	if c.Detect > 0 {
		e = e.Float64("detect_ms", milliseconds(c.Detect))
	}
	e.Msg("failover")
}

// name is empty for nobody.
func name(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func newID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand, since Go 1.24
	return hex.EncodeToString(b[:])
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
