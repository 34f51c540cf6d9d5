package proxy

import (
	"net/netip"
	"time"

	"github.com/rosproxy/rosproxy/proxy/pausing"
)

// What holds a label's new clients beside its epoch: the pause that it is in, or
// that is over while no read has named the master since.

// pauseGrace is how long clients wait at least, once a pause is over, for the
// read that names the master and for a master that accepts them. It is for a
// hold timeout that is shorter.
const pauseGrace = 5 * time.Second

// pauseState is the pause of lb, which holds new clients also when it has ended and
// waits for the read that names the master.
func (lb *label) pauseState() pausing.State {
	if s := lb.pause.Load(); s != nil {
		return *s
	}
	return pausing.State{}
}

// isPaused reports whether new clients are held by a pause.
func (lb *label) isPaused() bool { return lb.pause.Load() != nil }

// changePause gives lb's pause what f makes of it, and answers both.
func (lb *label) changePause(f func(pausing.State) pausing.State) (before, after pausing.State) {
	for {
		old := lb.pause.Load()
		if before = (pausing.State{}); old != nil {
			before = *old
		}
		after = f(before)
		if after == before {
			return before, after
		}
		next := &after
		if !after.Holds() {
			next = nil
		}
		if lb.pause.CompareAndSwap(old, next) {
			return before, after
		}
	}
}

// takesClients reports whether a client may be dialled to the current master.
func (lb *label) takesClients() bool { return !lb.isPaused() && lb.current.Load().takesClients() }

// holdDeadline is when a client that waits since then has waited long enough.
// In a pause nobody's time runs out, and after it everybody has all of it.
func (lb *label) holdDeadline(since int64) int64 {
	hold := int64(lb.settings.HoldTimeout)
	over := lb.resumed.Load()
	if s := lb.pauseState(); s.Lasts() {
		return never
	} else if s.Holds() {
		over = int64(s.Ended)
	}
	if over == 0 {
		return since + hold
	}
	return max(since+hold, over+max(hold, int64(pauseGrace)))
}

// lastMaster is the one that new clients got last; not valid: there was none.
func (lb *label) lastMaster() netip.AddrPort {
	e := lb.current.Load()
	m, lost := e.inOffice()
	switch {
	case m != nil:
		return m.Address
	case lost != nil:
		return lost.master
	}
	return netip.AddrPort{}
}
