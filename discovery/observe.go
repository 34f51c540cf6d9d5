package discovery

import (
	"net/netip"
	"time"
)

// observer is the state machine of one label: answers go in, orders come out.
// It does no I/O and reads no clock. One goroutine owns it.
//
// The choice comes before the name: the winner of an election may be
// registered by a host name, and is master once resolved says where that leads.
type observer struct {
	filter   indexFilter
	conflict ConflictPolicy

	state   State
	seen    int       // masters in the last answer that counted
	master  Master    // the last one ordered
	rejects []reject  // claims of the last answer that counted which cannot be followed
	failing []Failing // why nobody is master, by the last answer that counted

	winner  candidate      // of the last answer that counted; zero: nobody
	address netip.AddrPort // of the winner; not valid: its host name is not looked up yet
	named   time.Time      // when the answer arrived that named the winner
	begun   time.Duration  // when the newest consistent read began that named the winner, since boot; 0: none
}

// order is what must be done about an answer.
type order struct {
	do       op
	master   Master        // with setMaster
	confirm  time.Duration // not 0: a consistent read that began then, since boot, named the present master
	answered bool          // it is a consistent read, and it counts
	verify   bool          // ask the same address again, at once, by a consistent read
	reset    bool          // the address's index went backwards
}

// op is a call of a Sink.
type op uint8

const (
	nothing op = iota
	setMaster
	clearMaster // live connections stay
	cutMaster   // live connections end
)

func newObserver(c Config, agents int) *observer {
	return &observer{filter: newIndexFilter(agents, c.confirmedFor(), c.RegressAfter), conflict: c.OnConflict, state: Starting}
}

// observe takes the next answer. One that was not obtained, not understood or
// denied is unknown, never "none": it changes nothing.
func (o *observer) observe(a answer) order {
	if a.kind != none && a.kind != found {
		return order{}
	}
	r := o.filter.judge(a)
	out := order{verify: r.verify, reset: r.reset}
	if !r.counts {
		return out
	}
	if o.state == Unreachable && !a.consistent {
		out.verify = true // reads went unanswered, and only a read ends that
		return out
	}
	out.answered = a.consistent
	if a.kind == none {
		o.rejects, o.seen, o.failing = nil, 0, a.failing
		out.do = o.vacate(None, clearMaster)
		return out
	}
	o.rejects, o.failing = a.rejects, nil
	if len(a.candidates) == 0 {
		return out // who it is cannot be told: as good as unknown
	}
	v := elect(a.candidates)
	o.seen = v.seen
	if v.seen > 1 && o.conflict == Refuse {
		out.do = o.vacate(Conflict, cutMaster)
		return out
	}
	o.elected(v.winner, a)
	o.seat(&out)
	if !a.consistent {
		out.confirm = 0
	}
	return out
}

// elected notes that a names c.
func (o *observer) elected(c candidate, a answer) {
	if c != o.winner {
		switch {
		case c.host == "":
			o.address = c.addr
		case c.host != o.winner.host || c.port != o.winner.port:
			o.address = netip.AddrPort{}
		}
		o.winner, o.named, o.begun = c, a.arrived, 0
	}
	if a.consistent {
		o.begun = max(o.begun, a.begun)
	}
}

// resolved takes what the winner's host name stands for since at.
func (o *observer) resolved(addr netip.Addr, at time.Time) order {
	if o.winner.host == "" || !addr.IsValid() {
		return order{}
	}
	if o.address.IsValid() {
		o.named = at // the name moved, nobody was elected
	}
	o.address = netip.AddrPortFrom(addr, o.winner.port)
	var out order
	o.seat(&out)
	return out
}

// seat makes the winner the master, once its address is known. A repeat is no
// order; a new service id or node at the same address is one, though no failover.
func (o *observer) seat(out *order) {
	if !o.address.IsValid() {
		return
	}
	out.confirm = o.begun
	old, m := o.master, o.winner.master(o.address, o.named)
	old.Seen = m.Seen
	if o.state == Found && old == m {
		return
	}
	o.state, o.master = Found, m
	out.do, out.master = setMaster, m
}

// vacate leaves the label without a master, for the reason that s says.
func (o *observer) vacate(s State, by op) op {
	o.winner, o.address = candidate{}, netip.AddrPort{}
	if o.state == s {
		return nothing
	}
	o.state = s
	return by
}

// fence leaves the label without a master because Consul cannot be asked.
// There is nothing to fence before the first answer.
func (o *observer) fence() op {
	if o.state == Starting {
		return nothing
	}
	return o.vacate(Unreachable, cutMaster)
}
