package proxy

import (
	"crypto/rand"
	"encoding/hex"
	"math"
	"net"
	"net/netip"
	"time"
)

// SetMaster makes m the master of label.
//
// A repeat of the address that is the master's already is no failover: it ends
// a Suspend and refreshes ServiceID and Node, nothing else. Any other address
// begins a new epoch: when SetMaster returns, no connection to the previous
// master is open, whoever had ordered its end before, and none can appear; and
// clients that had not reached it are on their way to m. The zero Master begins
// an epoch without one: live connections are cut, new ones held. So does a
// master that is one of this proxy's own listeners, with a warning: a client
// would be connected to itself until no connection is left.
//
// It panics for an unknown label: labels are fixed when the proxy is made.
func (p *Proxy) SetMaster(label string, m Master) Cut {
	lb, h := p.mustFind(label)
	h.change.Lock()
	defer h.change.Unlock()

	old := lb.current.Load()
	if m.Address == old.announced() {
		if old.address.IsValid() {
			old.master.Store(&m)
		}
		if old.suspended.Load() != nil {
			lb.pace.expect()
			old.suspended.Store(nil)
			p.broadcast(func(s *shard) { s.resume(lb) })
		}
		return Cut{}
	}

	var refused netip.AddrPort
	if p.isOwnListener(m.Address) {
		refused, m = m.Address, Master{Seen: m.Seen}
		p.log.Warn().Str("label", label).Stringer("master", refused).Msg("the master is one of our own listeners: clients are held")
	}
	e := newEpoch(old.number+1, m)
	e.refused = refused
	if !m.Address.IsValid() {
		e.lost = p.lossAfter(old)
	}
	c := p.replace(lb, e)
	old.endTrouble(&p.shared, lb, "the master that could not be reached is master no more")
	c.From, c.To = nameOf(old.address), nameOf(m.Address)
	if !m.Seen.IsZero() {
		c.Detect = c.At.Sub(m.Seen)
	}
	switch {
	case !old.address.IsValid() && !e.address.IsValid(): // one loop after another
	case !old.address.IsValid(): // an election, not a failover
		p.log.Info().Str("label", label).Str("to", c.To).Uint64("epoch", c.Epoch).Int("carried", c.Carried).Msg("master elected")
	default:
		c.ID = newID()
		h.record(c)
		p.logFailover(c)
	}
	return c
}

// announced is the address that SetMaster was called with for this epoch.
func (e *epoch) announced() netip.AddrPort {
	if e.refused.IsValid() {
		return e.refused
	}
	return e.address
}

// replace stores e and returns when every shard has seen it and the
// connections of earlier epochs are closed.
func (p *Proxy) replace(lb *label, e *epoch) Cut {
	type sight struct {
		at      time.Time
		carried int
	}
	sights := make(chan sight, len(p.shards))
	closed := make(chan int, len(p.shards))
	c := Cut{Label: lb.name, Epoch: e.number}

	lb.pace.expect()
	lb.current.Store(e)
	c.At = time.Now()
	for _, s := range p.shards {
		s.mail.urge(func() {
			seen := time.Now()
			carried := s.failOver(lb, func(j *cutJob) { closed <- j.closed })
			sights <- sight{seen, carried}
			s.resume(lb)
		})
	}
	for range p.shards {
		s := <-sights
		c.Fence = max(c.Fence, inMicros(s.at.Sub(c.At)))
		c.Carried += s.carried
	}
	for range p.shards {
		c.Dropped += <-closed
	}
	c.Duration = inMicros(time.Since(c.At))
	return c
}

// inMicros is as exact as the log shows it, so that a failover's times are
// the same there, in the metrics and in a Snapshot.
func inMicros(d time.Duration) time.Duration { return d.Truncate(time.Microsecond) }

// Suspend says that label has no master at the moment: live connections stay,
// new ones are held until SetMaster.
//
// It panics for an unknown label.
func (p *Proxy) Suspend(label string) {
	lb, h := p.mustFind(label)
	h.change.Lock()
	defer h.change.Unlock()
	e := lb.current.Load()
	e.suspended.CompareAndSwap(nil, p.lossAfter(e))
}

// lossAfter is since when a label has no master that loses the one of e now,
// or has had none since before.
func (p *Proxy) lossAfter(e *epoch) *loss {
	m, since := e.inOffice()
	if m == nil {
		return since
	}
	return &loss{at: time.Now(), clock: p.clock.now()}
}

// Confirm says that a consistent read that began at begun (CLOCK_BOOTTIME,
// since boot) named the label's current master. A process that stood still
// after that moves nothing for a label whose listener has Revalidate until the
// next. It does not block, and panics for an unknown label.
func (p *Proxy) Confirm(label string, begun time.Duration) {
	lb, _ := p.mustFind(label)
	for before := lb.confirmed.Load(); before < int64(begun); before = lb.confirmed.Load() {
		if lb.confirmed.CompareAndSwap(before, int64(begun)) {
			break
		}
	}
	if p.inDoubt.Load() > 0 {
		p.broadcast((*shard).settleDoubts)
	}
}

// Lease ends the right to connect clients to label's masters at until
// (CLOCK_BOOTTIME, since boot): from then on no transfer begins, also in a
// process that stood still meanwhile; connections stay, and go on when a later
// call extends it. 0: it has no end, as at first. It does not block, and panics
// for an unknown label.
func (p *Proxy) Lease(label string, until time.Duration) {
	lb, _ := p.mustFind(label)
	end := int64(until)
	if end == 0 {
		end = math.MaxInt64
	}
	if before := lb.lease.Swap(end); before <= p.clock.now() {
		p.broadcast(func(s *shard) { s.resume(lb) })
	}
}

// isOwnListener reports whether a connection to a would be accepted by one of
// this proxy's listeners.
func (p *Proxy) isOwnListener(a netip.AddrPort) bool {
	for i := range p.listeners.sockets { // no copy: its descriptor is not ours to read
		if LeadsTo(a, p.listeners.sockets[i].bound) {
			return true
		}
	}
	return false
}

// LeadsTo reports whether a connection to a would be accepted by a listener of
// this host that is bound to that address, by whichever of this host's addresses.
func LeadsTo(a, bound netip.AddrPort) bool {
	if bound.Port() != a.Port() || !a.IsValid() {
		return false
	}
	ip, at := a.Addr().Unmap().WithZone(""), bound.Addr()
	return at == ip || at.IsUnspecified() && (at.Is6() || ip.Is4()) && isOfThisHost(ip)
}

func isOfThisHost(ip netip.Addr) bool {
	if ip.IsLoopback() || ip.IsUnspecified() {
		return true
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok {
			if own, ok := netip.AddrFromSlice(n.IP); ok && own.Unmap() == ip {
				return true
			}
		}
	}
	return false
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

func newID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand, since Go 1.24
	return hex.EncodeToString(b[:])
}
