package discovery

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/rosproxy/rosproxy/discovery/internal/text"
)

// mastership is the state machine of who is master of one label: elections and
// losses go in, orders for the Sink come out. It does no I/O and reads no clock.
// One goroutine owns it.
//
// The choice comes before the name: the winner of an election may be
// registered by a host name, and is master once resolved says where that leads.
type mastership struct {
	lost      LostPolicy
	lostAfter time.Duration

	state  State
	why    string // there is no master; empty: state says it all
	master Master // the last one ordered

	winner  candidate      // who is to be master; zero: nobody
	address netip.AddrPort // of the winner; not valid: its host name is not looked up yet
	named   time.Time      // when the answer arrived that named the winner
	begun   time.Duration  // when the newest consistent read began that named the winner, since boot; 0: none

	cut   bool      // with no master: live connections have been told to end
	cutAt time.Time // with no master: when they are to be told; zero: not at all
}

// order is what must be done about one label.
type order struct {
	learnt bool // the view said who is master, or that nobody is

	do      op
	master  Master        // with setMaster
	confirm time.Duration // not 0: a consistent read that began then, since boot, named the present master
}

// op is a call of a Sink.
type op uint8

const (
	nothing op = iota
	setMaster
	clearMaster // live connections stay
	cutMaster   // live connections end
)

func newMastership(c Config) mastership {
	return mastership{lost: c.OnLost, lostAfter: c.LostAfter, state: Starting}
}

// elect takes that c has been named by an answer that arrived at named, and by a
// consistent read that began at begun; 0: by none yet.
func (o *mastership) elect(c candidate, named time.Time, begun time.Duration) order {
	if c != o.winner {
		switch {
		case c.host == "":
			o.address = c.addr
		case c.host != o.winner.host || c.port != o.winner.port:
			o.address = netip.AddrPort{}
		}
		o.winner, o.named, o.begun = c, named, 0
	}
	o.begun = max(o.begun, begun)
	return o.install()
}

// resolved takes what the winner's host name stands for since at.
func (o *mastership) resolved(addr netip.Addr, at time.Time) order {
	if o.winner.host == "" || !addr.IsValid() {
		return order{}
	}
	if o.address.IsValid() {
		o.named = at // the name moved, nobody was elected
	}
	o.address = netip.AddrPortFrom(addr, o.winner.port)
	return o.install()
}

// install makes the winner the master, once its address is known. A repeat is no
// order; a new service id or node at the same address is one, though no failover.
func (o *mastership) install() order {
	if !o.address.IsValid() {
		return order{learnt: true}
	}
	out := order{learnt: true, confirm: o.begun}
	old, m := o.master, o.winner.master(o.address, o.named)
	old.Seen = m.Seen
	if o.state == Found && old == m {
		return out
	}
	o.state, o.why, o.master = Found, "", m
	o.cut, o.cutAt = false, time.Time{}
	out.do, out.master = setMaster, m
	return out
}

// lose takes at now that there is no master any more and nobody else elected:
// what becomes of live connections is a matter of policy.
func (o *mastership) lose(why string, now time.Time) order {
	before := o.state
	o.vacate(None, why)
	switch {
	case before == None:
		return order{learnt: true}
	case before == Starting, before == Conflict, before == Unreachable:
		o.cut = true // there are none, or they were told then
	case o.lost == CutLive && o.lostAfter == 0:
		o.cut = true
		return order{learnt: true, do: cutMaster}
	case o.lost == CutLive:
		o.cutAt = now.Add(o.lostAfter)
	}
	return order{learnt: true, do: clearMaster}
}

// oust leaves the label without a master, and without live connections, because
// of s.
func (o *mastership) oust(s State, why string) order {
	told := o.cut && o.state == s
	o.vacate(s, why)
	o.cut, o.cutAt = true, time.Time{}
	if told {
		return order{learnt: true}
	}
	return order{learnt: true, do: cutMaster}
}

// oustForSuccessor ousts a master whose successor is known but for the address that its
// host name stands for.
func (o *mastership) oustForSuccessor() order {
	winner, named, begun := o.winner, o.named, o.begun
	out := o.oust(None, whyUnnamed(winner.host, false))
	o.winner, o.named, o.begun = winner, named, begun
	return out
}

// isNameless reports whether another is to be master than the one to whom there are
// live connections, and its host name has not been looked up yet.
func (o *mastership) isNameless() bool {
	live := o.state == Found || o.state == None && !o.cut
	return live && o.isUnnamed()
}

// isUnnamed reports whether the winner's host name has not been looked up yet.
func (o *mastership) isUnnamed() bool { return o.winner.host != "" && !o.address.IsValid() }

// whyUnnamed says why nobody is master though host is the name of one.
func whyUnnamed(host string, failed bool) string {
	if failed {
		return fmt.Sprintf("the host name %s of the master cannot be looked up", text.Quoted(host))
	}
	return fmt.Sprintf("the host name %s of the master is looked up", text.Quoted(host))
}

func (o *mastership) vacate(s State, why string) {
	o.winner, o.address, o.begun = candidate{}, netip.AddrPort{}, 0
	o.state, o.why = s, why
}

// expire ends live connections when a lost master has been gone for long enough.
func (o *mastership) expire(now time.Time) order {
	if o.cutAt.IsZero() || now.Before(o.cutAt) {
		return order{}
	}
	o.cut, o.cutAt = true, time.Time{}
	return order{do: cutMaster}
}

// fence leaves the label without a master because Consul cannot be asked.
// There is nothing to fence before the first answer.
func (o *mastership) fence() order {
	if o.state == Starting {
		return order{}
	}
	return o.oust(Unreachable, "")
}
