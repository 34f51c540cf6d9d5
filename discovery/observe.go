package discovery

import "time"

// observer is the state machine of one label: answers go in, orders come out.
// It does no I/O and reads no clock. One goroutine owns it.
type observer struct {
	filter   indexFilter
	conflict ConflictPolicy
	fence    time.Duration // how long without an answer that counts; 0: the policy is keep

	state   State
	seen    int       // masters in the last answer that counted
	master  Master    // the last one ordered
	rejects []reject  // claims of the last answer that counted which cannot be followed
	contact time.Time // when the last answer that counted arrived
}

// order is what must be done about an answer.
type order struct {
	do     op
	master Master // with setMaster
	verify bool   // ask the same address again, at once, by a consistent read
	reset  bool   // the address's index went backwards
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
	o := &observer{filter: newIndexFilter(agents, c.confirmedFor(), c.RegressAfter), conflict: c.OnConflict, state: Starting}
	if c.OnOutage == Fence {
		o.fence = c.FenceAfter
	}
	return o
}

// observe takes the next answer. One that was not obtained, not understood or
// denied is unknown, never "none": it changes nothing.
func (o *observer) observe(a answer) order {
	if a.kind != none && a.kind != claimed {
		return order{}
	}
	r := o.filter.judge(a)
	out := order{verify: r.verify, reset: r.reset}
	if !r.counts {
		return out
	}
	o.contact = a.arrived
	if a.kind == none {
		o.rejects, o.seen = nil, 0
		out.do = o.vacate(None, clearMaster)
		return out
	}
	o.rejects = a.rejects
	if len(a.candidates) == 0 {
		return out // who it is cannot be told: as good as unknown
	}
	v := elect(a.candidates)
	o.seen = v.seen
	switch {
	case v.seen > 1 && o.conflict == Refuse:
		out.do = o.vacate(Conflict, cutMaster)
	case !v.winner.Address.IsValid():
		// The winner's name does not resolve; choosing another would be a
		// failover that DNS made.
	default:
		v.winner.Seen = a.arrived
		out.do, out.master = o.seat(v.winner), v.winner
	}
	return out
}

// seat makes m the master. A repeat is no order; a new service id or node at
// the same address is one, and a failover to nobody's eyes.
func (o *observer) seat(m Master) op {
	old := o.master
	old.Seen = m.Seen
	if o.state == Found && old == m {
		return nothing
	}
	o.state, o.master = Found, m
	return setMaster
}

// vacate leaves the label without a master, for the reason that s says.
func (o *observer) vacate(s State, by op) op {
	if o.state == s {
		return nothing
	}
	o.state = s
	return by
}

// deadline is when tick must be called unless an answer counts before; zero:
// never.
func (o *observer) deadline() time.Time {
	if o.fence == 0 || o.state == Starting || o.state == Unreachable {
		return time.Time{}
	}
	return o.contact.Add(o.fence)
}

// tick fences the label when its deadline has passed.
func (o *observer) tick(now time.Time) op {
	d := o.deadline()
	if d.IsZero() || now.Before(d) {
		return nothing
	}
	return o.vacate(Unreachable, cutMaster)
}
