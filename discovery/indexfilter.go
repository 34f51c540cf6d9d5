package discovery

import "time"

// indexFilter decides which answers to one question count, when several Consul
// addresses are asked. The raft index orders them: an answer counts only when
// its index is at least that of the last one that counted, so an address that
// hangs or lags can neither delay a failover nor roll one back.
//
// An index that goes backwards is not acted on (api-docs/features/blocking:
// "reset the index if it goes backwards"); it raises the question whether the
// cluster was wiped or restored. Only consistent reads can answer that: they
// are linearizable (api-docs/features/consistency), so one that began after an
// index was seen, and shows a lower one, proves that the cluster went back.
// The lower index is believed once
//   - the address that answers saw its own index go backwards, and no address
//     but those that saw the same has lately confirmed the higher index, or
//   - nobody has confirmed the higher index for Config.RegressAfter;
//
// then everything that was asked before is void, and the other addresses must
// each confirm themselves by a consistent read before they count again. So a
// cluster that lost its past is followed, and an old answer that was stuck on
// its way, or an agent that repeats its cache, is not.
//
// It does no I/O and reads no clock. One goroutine owns it.
type indexFilter struct {
	confirmedFor time.Duration // how long a confirmation of the applied index is valid
	regressAfter time.Duration // see Config.RegressAfter

	agents  []agentIndex // one a Consul address
	started bool         // an answer has counted
	applied uint64       // the index of the last answer that counted
	since   time.Time    // when an answer first counted with that index
	current answer       // it
	reset   time.Time    // when the read began that showed the cluster's index to have gone back; zero: never
}

// agentIndex is what the filter knows of the index of one Consul address.
type agentIndex struct {
	index     uint64    // the highest it showed since it last went backwards
	at        time.Time // when an answer first showed that
	confirmed time.Time // when it last confirmed the applied index; zero: not since the cluster went back
	regressed bool      // its index went backwards, and is still below the applied one
	suspended bool      // the cluster went back, and it has not answered a consistent read since
}

// ruling is what the filter says of an answer.
type ruling struct {
	counts bool // act on it
	verify bool // ask the same address again, by a consistent read
	reset  bool // its index went backwards
}

func newIndexFilter(agents int, confirmedFor, regressAfter time.Duration) indexFilter {
	return indexFilter{agents: make([]agentIndex, agents), confirmedFor: confirmedFor, regressAfter: regressAfter}
}

// judge rules on an answer that was understood.
func (f *indexFilter) judge(a answer) ruling {
	me := &f.agents[a.agent]
	if a.began.Before(f.reset) || me.suspended && !a.consistent {
		// Asked of the cluster as it was before it went back.
		return ruling{verify: true}
	}
	back, reset := me.follow(a)
	if me.suspended {
		me.suspended, me.regressed = false, false // below what it showed of another past
	}
	switch {
	case a.index < f.applied && a.consistent:
		if !f.wentBack(a) {
			return ruling{reset: reset}
		}
		f.restart(a)
	case back && !a.consistent:
		return ruling{verify: true, reset: reset}
	case a.index < f.applied:
		return ruling{reset: reset} // it lags
	case !a.consistent && f.doubtful(a):
		return ruling{verify: true, reset: reset}
	}
	if a.consistent || a.index > f.applied || !f.started {
		// Repeating the applied index by a long poll confirms nothing: a
		// streaming agent does that from its cache while its server is frozen.
		me.confirmed = a.arrived
		me.regressed = false
	}
	if !f.started || a.index != f.applied {
		f.since = a.arrived
	}
	f.started, f.applied, f.current = true, a.index, a
	return ruling{counts: true, reset: reset}
}

// follow keeps the index that the address shows. It reports whether it went
// backwards or is unusable, and whether that is news.
func (me *agentIndex) follow(a answer) (back, reset bool) {
	switch {
	case a.index == 0:
		back, reset = true, me.index > 0
	case a.index < a.asked:
		back, reset = true, a.index < me.index
	case a.index < me.index:
		// Only if it was asked after the higher one was seen; else two
		// answers overtook each other on their way here.
		back = a.began.After(me.at)
		reset = back
	}
	if reset || a.index > me.index {
		me.index, me.at = a.index, a.arrived
	}
	if reset {
		me.regressed = true
	}
	return back, reset
}

// doubtful reports whether an answer at or above the applied index needs a
// consistent read before it counts: an empty one always (a streaming query
// that times out before its first snapshot answers 200 and an empty list, and
// so do some tokens without rights), and another set of masters at an index
// already acted on.
func (f *indexFilter) doubtful(a answer) bool {
	return a.kind == none || f.started && a.index == f.applied && !a.says(f.current)
}

// wentBack reports whether a, a consistent read below the applied index, is to be
// believed: no other address has lately confirmed the higher index.
func (f *indexFilter) wentBack(a answer) bool {
	if a.began.Before(f.since) {
		return false // overtaken on its way here
	}
	regressed := f.agents[a.agent].regressed
	silence := f.regressAfter
	if regressed {
		silence = f.confirmedFor
	}
	for i := range f.agents {
		o := &f.agents[i]
		if o.confirmed.IsZero() || regressed && o.regressed {
			continue
		}
		if a.arrived.Sub(o.confirmed) < silence {
			return false
		}
	}
	return true
}

// restart starts over from a: every other address is suspended until it has
// answered a consistent read.
func (f *indexFilter) restart(a answer) {
	f.reset = a.began
	for i := range f.agents {
		if i == a.agent {
			continue
		}
		f.agents[i] = agentIndex{index: f.agents[i].index, at: f.agents[i].at, suspended: true}
	}
}
