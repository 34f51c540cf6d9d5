package datacenter

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// The model has no clock. That a report is dead only when the lease is over that it gave is
// what the search of package fence shows; here a lapse may come at any time, and
// whoever waits for a report waits for it. So a report without a process to which it
// gives anything is as good as none: nothing that a search could find is lost.

const (
	maxPlaces  = 3
	maxRuns    = 3
	outside    = 0 // home of an instance that is in none of the configured data centres
	modelStart = 1 // the term of the first entry
)

var names = [maxPlaces + 1]string{"", "dc1", "dc2", "dc3"}

func numberOf(dc string) uint8 { return uint8(slices.Index(names[:], dc)) }

// state is comparable, and small: a search keeps millions.
type state struct {
	places [maxPlaces]place
	inst   instance
	runs   [maxRuns]run
	top    record // the newest entry that names a data centre and was ever written
	vouch  mask   // who was forced, and no activation with all of them has succeeded since
	wrong  wrong
	// what may still happen
	downs, losses, lapses, restarts, kills, lates uint8
}

// wrong is what an entry was, when it was written, that it must not be.
type wrong uint8

const (
	fine      wrong = iota
	outranked       // a data centre that is forced has a higher term: its return undoes the activation
	doubled         // there is another entry of the term
)

// mask is a set of data centres.
type mask uint8

func (m mask) has(dc uint8) bool { return dc > 0 && m&(1<<(dc-1)) != 0 }

func maskOf(dcs ...uint8) (m mask) {
	for _, dc := range dcs {
		if dc > 0 {
			m |= 1 << (dc - 1)
		}
	}
	return m
}

func maskOfNames(dcs []string) (m mask) {
	for _, dc := range dcs {
		m |= maskOf(numberOf(dc))
	}
	return m
}

func (m mask) names() (out []string) {
	for dc := uint8(1); dc <= maxPlaces; dc++ {
		if m.has(dc) {
			out = append(out, names[dc])
		}
	}
	return out
}

// record is an Entry.
type record struct {
	term    uint32 // 0: absent
	active  uint8
	without mask
}

func recordOf(e Entry) record {
	return record{uint32(e.Term), numberOf(e.Active), maskOfNames(e.Without)}
}

func (r record) entry() Entry {
	return Entry{Active: names[r.active], Term: uint64(r.term), Without: r.without.names()}
}

func (r record) String() string {
	if r.term == 0 {
		return "absent"
	}
	out := fmt.Sprintf("{%s %d", names[r.active], r.term)
	if r.active == 0 {
		out = fmt.Sprintf("{nobody %d", r.term)
	}
	if r.without > 0 {
		out += " without " + strings.Join(r.without.names(), ",")
	}
	return out + "}"
}

// place is a data centre: its Consul, and its master, who is there when Consul is.
type place struct {
	entry record
	down  bool
}

// instance is one process, and one label of it.
type instance struct {
	on     bool
	newest record // as in Follower
	split  bool

	own     bool // the report in the own data centre stands
	ownTerm uint32
	cleared mask   // whose entry was read since the own report stands
	kept    mask   // without the rule that a lapse ends that
	at      uint8  // where the report is, which stands, that says it serves; 0: nowhere
	atTerm  uint32 // where that is another one than the own
	fresh   bool   // the entry there was read since

	conn     uint8  // where it has connections to the master; 0: nowhere
	connTerm uint32 // by which entry

	late   uint8   // of which a read is on its way; 0: none
	seen   record  // what it will answer
	lateOK [2]bool // whether the own report, and that at late, stood when it began, and stand since
}

// run is one run of the command.
type run struct {
	phase  phase
	target uint8
	force  mask
	// settles: it began, without --force, when nobody was forcing; when it succeeds,
	// others may be forced than before.
	settles bool
	read    mask // when it reads, and when it reads again
	found   [maxPlaces]record
	cas     [maxPlaces]cas
	plan    uint16 // of the model's
	next    uint8  // step of it
}

type phase uint8

const (
	unbegun phase = iota
	reading
	stepping
	killed // with a write on its way
	failed
	done
)

// cas is on what a compare-and-set is: the entry that is there, one that is there no
// more, or none.
type cas uint8

const (
	stale cas = iota
	fresh
	absent
)

// end forgets what nothing depends on any more.
func (r *run) end(p phase) { *r = run{phase: p} }

// canonical makes one of all states that differ only in what nothing depends on.
func (s *state) canonical() {
	p := &s.inst
	if !p.on {
		*p = instance{}
	}
	if !p.own {
		p.ownTerm, p.cleared = 0, 0
	}
	if p.at == 0 {
		p.atTerm, p.fresh = 0, false
	}
	if p.conn == 0 {
		p.connTerm = 0
	}
	if p.late == 0 {
		p.seen, p.lateOK = record{}, [2]bool{}
	}
	for i := range s.runs {
		r := &s.runs[i]
		if r.phase == stepping || r.phase == killed {
			r.found = [maxPlaces]record{}
		}
		r.settles = r.settles && s.vouch > 0
	}
	slices.SortFunc(s.runs[:], compareRuns)
}

// compareRuns puts those last that are not begun, and in some order those that are:
// none is better than another.
func compareRuns(a, b run) int {
	if c := cmp.Compare(a.order(), b.order()); c != 0 {
		return c
	}
	for i := range a.found {
		x, y := a.found[i], b.found[i]
		if c := cmp.Or(cmp.Compare(x.term, y.term), cmp.Compare(x.active, y.active), cmp.Compare(x.without, y.without), cmp.Compare(a.cas[i], b.cas[i])); c != 0 {
			return c
		}
	}
	return 0
}

func (r *run) order() (n uint64) {
	if r.phase == unbegun {
		n = 1
	}
	if r.settles {
		n |= 2
	}
	for _, b := range []uint64{uint64(r.phase), uint64(r.target), uint64(r.force), uint64(r.read), uint64(r.next)} {
		n = n<<8 | b
	}
	return n<<16 | uint64(r.plan)
}

// brief is what a reader of a trace wants to know.
func (s *state) brief(places int) string {
	var out []string
	for i := range places {
		text := names[i+1] + " " + s.places[i].entry.String()
		if s.places[i].down {
			text += " down"
		}
		out = append(out, text)
	}
	p := &s.inst
	if p.own {
		out = append(out, fmt.Sprintf("own report of term %d", p.ownTerm))
	}
	if p.at > 0 {
		out = append(out, "serving report in "+names[p.at])
	}
	if p.conn > 0 {
		out = append(out, fmt.Sprintf("CONNECTED to %s by term %d", names[p.conn], p.connTerm))
	}
	return strings.Join(out, "; ")
}
