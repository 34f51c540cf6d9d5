package proxy

import (
	"crypto/rand"
	"encoding/hex"
	"net"
	"net/netip"
	"time"

	"github.com/rs/zerolog"
)

// SetMaster makes m the master of label.
//
// A repeat of the address that is the master's already is no failover: it ends
// a loss and refreshes ServiceID and Node, nothing else. Any other address
// begins a new epoch: when SetMaster returns, no connection to the previous
// master is open, whoever had ordered its end before, and none can appear; and
// clients that had not reached it are on their way to m. A master that is one of
// this proxy's own listeners begins an epoch without one, with a warning: a
// client would be connected to itself until no connection is left. The zero
// Master is a Lose that cuts.
//
// It panics for an unknown label: labels are fixed when the proxy is made.
func (p *Proxy) SetMaster(label string, m Master) Cut {
	if !m.Address.IsValid() {
		return p.Lose(label, Loss{Cut: true})
	}
	lb, h := p.mustFind(label)
	h.change.Lock()
	defer h.change.Unlock()

	old := lb.current.Load()
	if m.Address == old.announced() {
		p.repeat(lb, old, m)
		return Cut{}
	}
	e := newEpoch(old.number+1, m)
	if p.isOwnListener(m.Address) {
		e = newVacancy(old, p.lossAfter(old))
		e.refused = m.Address
	}
	_, lost := old.inOffice()
	c := p.begin(lb, h, e, reasonLoop, m.Seen)
	if e.refused.IsValid() {
		p.log.Warn().Str("label", label).Stringer("master", m.Address).Msg("the master is one of our own listeners: clients are held")
	}
	switch {
	case c.ID != "":
		p.logFailover(c, lost)
	case e.address.IsValid() && lost == nil:
		p.log.Info().Str("label", label).Str("to", c.To).Uint64("epoch", c.Epoch).Int("carried", c.Carried).Msg("master elected")
	}
	if e.address.IsValid() {
		p.logBack(lb, e, lost, c)
	}
	p.electedInPause(lb, e.address)
	return c
}

// repeat is for a master that label has, or had until it lost it.
func (p *Proxy) repeat(lb *label, e *epoch, m Master) {
	if !e.address.IsValid() { // one of our own listeners
		return
	}
	e.master.Store(&m)
	lost := e.suspended.Load()
	if lost == nil {
		return
	}
	lb.pace.expect()
	e.suspended.Store(nil)
	lb.changed.Store(p.clock.now())
	p.broadcast(func(s *shard) { s.resume(lb) })
	p.logBack(lb, e, lost, Cut{})
}

// announced is the address that SetMaster was called with for this epoch.
func (e *epoch) announced() netip.AddrPort {
	if e.refused.IsValid() {
		return e.refused
	}
	return e.address
}

// begin has e follow the current epoch of lb, and answers what that did. It is
// a failover where there was a master.
func (p *Proxy) begin(lb *label, h *history, e *epoch, reason string, seen time.Time) Cut {
	old := lb.current.Load()
	c := p.replace(lb, e)
	lb.changed.Store(p.clock.now())
	old.endTrouble(&p.shared, lb, "the master that could not be reached is master no more")
	c.From, c.To = nameOf(old.address), nameOf(e.address)
	if c.To == "" {
		c.Reason = reason
	}
	if !seen.IsZero() {
		c.Detect = c.At.Sub(seen)
	}
	if old.address.IsValid() {
		c.ID = newID()
		h.record(c)
	}
	return c
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
	p.confirmPause(lb, begun)
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
		end = noLease
	}
	before := lb.lease.Swap(end)
	if lb.guard != nil {
		lb.guard.consider(lb)
	}
	if before <= p.clock.now() {
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
	ip, at := a.Addr().Unmap(), bound.Addr()
	return at == ip.WithZone("") || at.IsUnspecified() && (at.Is6() || ip.Is4()) && isOfThisHost(ip)
}

// isOfThisHost asks the kernel from where it would send to ip: to an address of
// this host it sends from that very address. Connecting a UDP socket sends nothing.
// A list of the host's addresses takes netlink, which a hardened unit does not allow.
func isOfThisHost(ip netip.Addr) bool {
	if ip.IsLoopback() || ip.IsUnspecified() {
		return true
	}
	const discard = 9 // any port will do
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, discard)))
	if err != nil {
		return false
	}
	defer c.Close()
	from, ok := c.LocalAddr().(*net.UDPAddr)
	return ok && from.AddrPort().Addr().Unmap().WithZone("") == ip.WithZone("")
}

// logFailover writes the line of c. lost is not nil when the master had been
// lost before, and the connections to it kept.
func (p *Proxy) logFailover(c Cut, lost *loss) {
	fields := []any{
		"label", c.Label, "id", c.ID, "from", c.From, "to", c.To, "epoch", c.Epoch, "dropped", c.Dropped, "carried", c.Carried,
		"fence_us", c.Fence.Microseconds(), "cut_ms", milliseconds(c.Duration),
	}
	if c.Detect > 0 {
		fields = append(fields, "detect_ms", milliseconds(c.Detect))
	}
	if c.Reason != "" {
		fields = append(fields, "reason", c.Reason)
	}
	if lost != nil && c.To == "" {
		fields = append(fields, "lost_ms", p.sinceMillis(lost))
	}
	p.tell(zerolog.InfoLevel, eventFailover, "failover", fields...)
}

func newID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand, since Go 1.24
	return hex.EncodeToString(b[:])
}
