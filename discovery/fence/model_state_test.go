package fence

import (
	"cmp"
	"slices"
	"time"
)

// The model's clock goes by seconds, and the TTL is the shortest there is: a beat is
// due every tick, a lease is 4, and what has not changed for 5 is dead: await-fence's
// clock is the fastest that the 2 % allow for.
const (
	modelTick = time.Second
	modelTTL  = MinTTL
	modelNow  = 64 * modelTick // of every canonical state; older times are all the same
	oldest    = modelNow - 5*modelTick
	label     = "L"
)

// Elections of the label, each known by its index, which stands for the raft index.
const (
	unread   = iota
	electedA // at first
	lost     // the lock is free: on-lost keep, so that connections stay
	electedB
	electedA2 // A again, by a new lock
)

// isOld reports whether connections to A are to an earlier master than election e.
func isOld(e uint8) bool { return e == electedB }

type (
	state struct {
		now     time.Duration
		elected uint8
		entries [maxEntries]modelEntry // sorted; those without a key last
		writes  [maxWrites]modelWrite  // on their way
		procs   [maxProcs]process
		await   modelAwait
		raft    uint64
		// what may still go wrong
		kills, stops, repeats uint8
		lapses                int8 // below 0: out of bounds
		waited                uint8
	}

	// key is where an entry is. A process that was restarted has another one.
	key struct {
		proc, gen uint8
		life      int
	}

	modelEntry struct {
		there bool
		key
		modify, beat uint64
		content
		seenModify uint64 // by await-fence; 0: not yet
		seenSince  time.Duration
	}

	content struct {
		has    bool // the label
		obeyed uint8
	}

	modelWrite struct {
		there bool
		key
		beat, cas uint64
		content
		left uint8 // how often it will still be made: twice, when a client repeats it
	}

	process struct {
		up    uint8
		gen   uint8
		beat  Beat
		rev   uint64
		label LabelLease
		said  uint8 // label's obeyed
		knows uint8 // the election that it acted upon last
		fresh bool  // a consistent read was answered since the label left
		news  bool  // something has happened that the label has not looked at
		read  sight // on its way; unread: none
		act   uint8 // what the label's goroutine is about to do
		by    uint8 // the election that it acts upon

		connected bool          // to A; what B does is of no interest
		lease     time.Duration // that the data plane knows
		queued    bool          // a killed process left bytes for A that the kernel delivers
	}

	// sight is what a consistent read has found.
	sight struct {
		election uint8
		begun    time.Duration
	}

	modelAwait struct {
		state uint8
		index uint8
		del   key // a deletion on its way
		cas   uint64
	}
)

const (
	maxEntries, maxWrites, maxProcs = 2, 2, 1

	down, running, stopped, killed = 0, 1, 2, 3

	idle, serve, oust = 0, 1, 2

	notBegun, awaiting, returned = 0, 1, 2
)

// canonical makes one of all states that differ only in what nothing depends on:
// the time, and by which numbers the same things are told apart.
func (s *state) canonical(m *model) {
	shift := modelNow - s.now
	at := func(t *time.Duration) {
		if *t != 0 {
			*t = max(*t+shift, oldest)
		}
	}
	s.now = modelNow
	for i := range s.procs {
		s.procs[i].canonical(at, m)
	}
	for i := range s.entries {
		if e := &s.entries[i]; !e.there || s.await.state != awaiting || e.seenModify != e.modify {
			e.seenModify, e.seenSince = 0, 0
		}
		at(&s.entries[i].seenSince)
	}
	slices.SortFunc(s.entries[:], func(a, b modelEntry) int { return cmp.Or(-compareBool(a.there, b.there), compareKey(a.key, b.key)) })
	s.renumber()
	slices.SortFunc(s.writes[:], func(a, b modelWrite) int {
		return cmp.Or(-compareBool(a.there, b.there), compareKey(a.key, b.key), cmp.Compare(a.beat, b.beat), cmp.Compare(a.cas, b.cas), cmp.Compare(a.left, b.left))
	})
}

func (p *process) canonical(at func(*time.Duration), m *model) {
	if p.up == down || p.up == killed {
		*p = process{up: p.up, gen: p.gen, queued: p.queued, beat: Beat{TTL: modelTTL}}
		return
	}
	if !p.beat.Doubtful {
		p.beat.Pending = Write{}
	}
	if p.label.Life == p.beat.Life && p.beat.Stands && p.act != oust {
		p.lease = m.leaseOf(p) // it looks whenever that extends it: the longest is the worst
	}
	if !p.connected && p.act == idle {
		p.lease = 0
	}
	if !m.urgent {
		p.news = false // it may look at any time
	}
	if p.label.Revision > 0 && p.act != oust {
		p.fresh = false // it counts when the label joins
	}
	if p.read.election < p.knows {
		p.read = sight{} // it is older than what was acted on
	}
	if p.read.election != unread && (p.label.Stood == 0 || p.read.begun <= p.label.Stood) {
		p.read.begun = oldest // it permits nothing
	}
	if p.label.Read > 0 && (p.read.begun == oldest || p.read.begun > p.label.Stood || p.read.election == unread) {
		p.label.Stood = oldest // only who has read nothing since asks for it
	}
	for _, t := range []*time.Duration{&p.beat.Begun, &p.beat.Pending.Begun, &p.label.Stood, &p.label.Read, &p.read.begun, &p.lease} {
		at(t)
	}
	if p.lease != 0 {
		p.lease = max(p.lease, modelNow-modelTick)
	}
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

func compareKey(a, b key) int {
	return cmp.Or(cmp.Compare(a.proc, b.proc), cmp.Compare(a.gen, b.gen), cmp.Compare(a.life, b.life))
}

// renumber gives the smallest numbers that keep their order to raft indexes, and
// to each process's beats, revisions and lives.
func (s *state) renumber() {
	var r ranks
	for i := range s.entries {
		r.add(&s.entries[i].modify, &s.entries[i].seenModify)
	}
	for i := range s.writes {
		r.add(&s.writes[i].cas)
	}
	for i := range s.procs {
		r.add(&s.procs[i].beat.Index, &s.procs[i].beat.Pending.CAS)
	}
	r.add(&s.await.cas)
	s.raft = r.rank()
	for i := range s.procs {
		p := &s.procs[i]
		beats, lives := ranks{}, [maxEntries + maxWrites + 4]*int{}
		n := 0
		life := func(l *int) { lives[n], n = l, n+1 }
		beats.add(&p.beat.Pending.Beat)
		for j := range s.entries {
			if e := &s.entries[j]; e.there && e.proc == uint8(i) {
				beats.add(&e.beat)
				if e.gen == p.gen {
					life(&e.life)
				}
			}
		}
		for j := range s.writes {
			if w := &s.writes[j]; w.there && w.proc == uint8(i) {
				beats.add(&w.beat)
				if w.gen == p.gen {
					life(&w.life)
				}
			}
		}
		p.beat.Beats = beats.rank()
		revisions := ranks{}
		revisions.add(&p.rev, &p.beat.Acked, &p.beat.Pending.Revision, &p.label.Revision)
		revisions.rank()
		life(&p.beat.Life)
		if p.label.Revision > 0 {
			life(&p.label.Life)
		}
		if p.beat.Doubtful {
			life(&p.beat.Pending.Life)
		}
		if s.await.cas != 0 && s.await.del.proc == uint8(i) && s.await.del.gen == p.gen {
			life(&s.await.del.life)
		}
		rankLives(lives[:n])
	}
}

// ranks are numbers of which only the order counts; 0 is none.
type ranks struct {
	of [24]*uint64
	n  int
}

func (r *ranks) add(ps ...*uint64) {
	for _, p := range ps {
		if *p != 0 {
			r.of[r.n], r.n = p, r.n+1
		}
	}
}

// rank numbers them from 1 on, and answers the highest.
func (r *ranks) rank() uint64 {
	of := r.of[:r.n]
	slices.SortFunc(of, func(a, b *uint64) int { return cmp.Compare(*a, *b) })
	var last, next uint64
	for _, p := range of {
		if *p != last {
			last, next = *p, next+1
		}
		*p = next
	}
	return next
}

func rankLives(of []*int) {
	slices.SortFunc(of, func(a, b *int) int { return cmp.Compare(*a, *b) })
	last, next := -1, -1
	for _, p := range of {
		if *p != last {
			last, next = *p, next+1
		}
		*p = next
	}
}
