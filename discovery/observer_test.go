package discovery

// observer is all of a label by its service that is pure, put together as a watch
// and a labelWatch do it.
type observer struct {
	filter indexFilter
	view   view
	mastership
	service
}

// seenOrder is what follows from one answer.
type seenOrder struct {
	order
	answered bool // it is a consistent read, and it counts
	verify   bool // ask the same address again, at once, by a consistent read
	reset    bool // the address's index went backwards
}

func newObserver(c Config, agents int) *observer {
	o := &observer{filter: newIndexFilter(agents, c.confirmedFor(), c.RegressAfter), mastership: newMastership(c)}
	o.service = service{conflict: c.OnConflict, mastership: &o.mastership}
	return o
}

func (o *observer) observe(a answer) seenOrder {
	if a.kind != none && a.kind != found {
		return seenOrder{}
	}
	r := o.filter.judge(a)
	out := seenOrder{verify: r.verify, reset: r.reset}
	if !r.counts {
		return out
	}
	before := o.view.begun
	next, doubt := o.view.after(a, "")
	o.view, out.verify = next, out.verify || doubt
	if o.state == Unreachable && next.begun <= before {
		out.verify = true
		return out
	}
	out.answered = a.consistent
	out.order = o.look(next, a.arrived)
	if !a.consistent {
		out.confirm = 0
	}
	return out
}
