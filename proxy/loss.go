package proxy

import (
	"time"

	"github.com/rs/zerolog"
)

// Loss says how a label loses its master without getting another one.
type Loss struct {
	Cut bool // live connections end; else they stay until there is another master
	// Announce: nobody is elected, which the log tells as "master lost", once
	// for all that is said of one loss. Not for a master that is there and may
	// not be connected to: the failover to none tells of it.
	Announce bool
	Reason   string // for people, in one line; empty: none is known
}

// reasonLoop is why a master that is one of our own listeners is none.
const reasonLoop = "loop"

// Lose says that label has no master until the next SetMaster: new clients are
// held, and live connections stay, or end as l says. With Cut it begins an
// epoch without a master: when Lose returns, no connection to the previous one
// is open, and none can appear. Without, it does not block. Said again of the
// same loss it does what is new: it cuts, or announces.
//
// It panics for an unknown label.
func (p *Proxy) Lose(label string, l Loss) Cut {
	lb, h := p.mustFind(label)
	h.change.Lock()
	defer h.change.Unlock()

	old := lb.current.Load()
	m, lostBefore := old.inOffice()
	lost := p.lossAfter(old)
	live := int(lb.live.Load())
	var c Cut
	switch {
	case l.Cut && old.announced().IsValid():
		c = p.begin(lb, h, newVacancy(old, lost), l.Reason, time.Time{})
	case m != nil:
		old.suspended.Store(lost)
	}
	if l.Announce && lost != nil && !lost.announced {
		lost.announced = true
		h.countLost()
		p.logLost(lb, lost, live, l.Reason)
	}
	if c.ID != "" {
		p.logFailover(c, lostBefore)
	}
	return c
}

// lossAfter is the loss of a label that loses the master of e now, or has had
// none since before.
func (p *Proxy) lossAfter(e *epoch) *loss {
	m, lost := e.inOffice()
	if m == nil {
		return lost
	}
	return &loss{master: e.address, at: time.Now(), clock: p.clock.now()}
}

func (p *Proxy) logLost(lb *label, lost *loss, live int, reason string) {
	connections := "kept"
	if !lb.current.Load().address.IsValid() {
		connections = "cut"
	}
	fields := []any{"label", lb.name, "master", lost.master.String(), "connections", connections, "live", live}
	if reason != "" {
		fields = append(fields, "reason", reason)
	}
	p.tell(zerolog.WarnLevel, eventLost, "master lost", fields...)
}

// logBack tells that lb has the master of e again; lost is nil when it had lost
// none. c is what became of its clients, where no failover line says so.
func (p *Proxy) logBack(lb *label, e *epoch, lost *loss, c Cut) {
	if lost == nil {
		return
	}
	fields := []any{"label", lb.name, "master", e.address.String(), "lost_ms", p.sinceMillis(lost)}
	if c.Epoch != 0 && c.ID == "" {
		fields = append(fields, "epoch", c.Epoch, "carried", c.Carried)
	}
	p.tell(zerolog.InfoLevel, eventBack, "master back", fields...)
}

// sinceMillis is how long l has lasted.
func (p *Proxy) sinceMillis(l *loss) float64 {
	return milliseconds(time.Duration(p.clock.now() - l.clock))
}
