package proxy

import (
	"crypto/rand"
	"encoding/hex"
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

// repeat is for a master that label has, or had until it lost it, or would have if
// it were not one of our own listeners.
func (p *Proxy) repeat(lb *label, e *epoch, m Master) {
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
