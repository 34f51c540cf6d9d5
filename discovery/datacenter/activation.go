package datacenter

import (
	"cmp"
	"fmt"
	"slices"
)

// Activation is the state machine of `datacenter activate`: what to write where, in
// which order, and what to wait for in between. It is given what was found in each
// data centre, and hands out one Step after the other.
type Activation struct {
	Datacenters []string // those that are configured
	Target      string   // one of them
	Force       bool     // the operator vouches for those that cannot be read
	By          string   // who it is; different for each call, for entries are told apart by it

	forced []string
	modify map[string]uint64 // of the entry in each data centre that was read
	steps  []Step
	next   int
	nobody bool // it passes through nobody
	held   []string
}

// Found is what was found in one data centre: the entry, read consistently, and then
// what all reports say of terms.
type Found struct {
	Unread  string // why it could not be read, for people; empty: it was
	Modify  uint64 // ModifyIndex of the entry; 0: it is absent
	Entry   Entry  // Term 0: it is absent, or garbled
	Garbled string // why it cannot be understood; empty: it can, or is absent

	Lowest, Highest uint64 // terms in the reports; 0: there is none with a term
}

// Step is one thing to do. The next one must not begin before it is done; one that
// fails ends the activation.
type Step struct {
	Kind StepKind

	Datacenter string // Write: where
	Entry      Entry  // Write: what
	CAS        uint64 // Write: ModifyIndex of the entry that it replaces; 0: there must be none

	Datacenters []string // Await, Confirm: those that can be read
	Term        uint64   // Await: which every report must have seen
	Over        []string // Await: those that cannot be read
}

// StepKind is what is to be done.
type StepKind int

// The kinds of steps.
const (
	// Write an entry by compare-and-set.
	Write StepKind = iota
	// Await until every report has seen a term, or is dead; and until all leases are
	// over that the data centres of Over may have given before the activation began. The
	// operator vouches that they are down, and so give no more.
	Await
	// Confirm that the entries are still those that were read and written.
	Confirm
)

// Refused is the error of an activation that changes nothing.
type Refused struct {
	Unread map[string]string // why data centres cannot be read, by name
	text   string
}

func (r *Refused) Error() string { return r.text }

func refused(format string, args ...any) *Refused {
	return &Refused{text: fmt.Sprintf(format, args...)}
}

// By how much the terms of an activation are above the highest that was found. The
// first is 2 and not 1: an activation that was killed may have left a term that is
// higher by 1 in a data centre that cannot be read.
const (
	aboveNobody = 2 // the entry that names nobody
	aboveActive = 3 // the one after it
	// aboveKept: the same data centre stays the active one, and all entries are known.
	aboveKept = 1
	// aboveLost: an entry is lost, so that nothing tells which term a data centre may
	// have that cannot be read. It cannot have seen so many activations.
	aboveLost = 1 << 20
)

// Plan takes what was found in each data centre, and makes the steps. Where nothing is
// to be changed they only wait and confirm. The error is a *Refused.
func (a *Activation) Plan(found map[string]Found) error {
	v, err := a.survey(found)
	if err != nil {
		return err
	}
	a.forced, a.held = v.unread, v.held
	a.modify = make(map[string]uint64)
	for _, dc := range v.readable {
		a.modify[dc] = found[dc].Modify
	}
	switch settled := v.isSettled(a.Target, found); {
	case len(v.unread) > 0 && !a.Force && !settled:
		return v.refuse(found)
	case a.Force && len(v.unread) == 0 && v.lowest >= v.term:
		return refused("--force is not needed: every data centre can be read, and no report is behind")
	case settled:
	case v.newest.Active == a.Target && !v.split && v.term == v.newest.Term:
		a.keep(v, found)
	default:
		a.pass(v, found)
		return nil
	}
	a.steps = append(a.steps,
		Step{Kind: Await, Datacenters: v.readable, Term: a.lastTerm(v.term)},
		// The entries were read one after the other: this finds out whether they hold at the same time.
		Step{Kind: Confirm, Datacenters: v.readable})
	return nil
}

// keep has the target stay the active one, and cuts nobody. Data centres that lack the
// newest entry get it. If that was written without other data centres than those that
// cannot be read now, it is replaced afterwards, in those that it was written without
// last: until then who reads the entry there is warned by it.
func (a *Activation) keep(v survey, found map[string]Found) {
	for _, dc := range lowestFirst(v.lacking(found), found) {
		a.write(dc, v.newest)
	}
	if slices.Equal(v.newest.Without, v.unread) {
		return
	}
	e := a.active(v.newest.Term + aboveKept)
	if len(v.unread) > 0 {
		e.Term = v.newest.Term + aboveActive // one that cannot be read may have a nobody
	}
	for _, without := range []bool{false, true} {
		for _, dc := range v.readable {
			if v.newest.IsWithout(dc) == without {
				a.write(dc, e)
			}
		}
	}
}

// pass first has nobody active, which all reports must have seen before the target is.
func (a *Activation) pass(v survey, found map[string]Found) {
	a.nobody = true
	t := v.term
	if v.lost && len(v.unread) > 0 {
		t += aboveLost
	}
	nobody := Entry{Term: t + aboveNobody, By: a.By, Without: union(v.held, v.unread)}
	for _, dc := range lowestFirst(v.readable, found) {
		a.write(dc, nobody)
	}
	a.steps = append(a.steps, Step{Kind: Await, Datacenters: v.readable, Term: nobody.Term, Over: v.unread})
	a.write(a.Target, a.active(t+aboveActive)) // first: its instances need no other for it
	for _, dc := range v.readable {
		if dc != a.Target {
			a.write(dc, a.active(t+aboveActive))
		}
	}
}

func (a *Activation) active(term uint64) Entry {
	return Entry{Active: a.Target, Term: term, By: a.By, Without: a.forced}
}

func (a *Activation) write(dc string, e Entry) {
	a.steps = append(a.steps, Step{Kind: Write, Datacenter: dc, Entry: e})
}

// lastTerm is that of the last entry to be written; none: term.
func (a *Activation) lastTerm(term uint64) uint64 {
	if n := len(a.steps); n > 0 {
		return a.steps[n-1].Entry.Term
	}
	return term
}

// lowestFirst puts the data centres with the lowest terms first: their terms are at no
// time further apart than a later activation allows for, wherever this one is killed.
func lowestFirst(datacenters []string, found map[string]Found) []string {
	out := slices.Clone(datacenters)
	slices.SortStableFunc(out, func(x, y string) int { return cmp.Compare(found[x].Entry.Term, found[y].Entry.Term) })
	return out
}

func union(x, y []string) []string {
	out := append(slices.Clone(x), y...)
	slices.Sort(out)
	return slices.Compact(out)
}

// Next is the step to be done; false: there is none left, and the target is the
// active data centre.
func (a *Activation) Next() (Step, bool) {
	if a.next == len(a.steps) {
		return Step{}, false
	}
	s := a.steps[a.next]
	s.CAS = a.modify[s.Datacenter]
	return s, true
}

// Written takes that the entry of the step was written, as modify.
func (a *Activation) Written(modify uint64) {
	a.modify[a.steps[a.next].Datacenter] = modify
	a.next++
}

// Awaited takes that the reports of the step have been waited for, of which the
// highest term is highest. It fails when somebody has seen a higher one than there may be.
func (a *Activation) Awaited(highest uint64) error {
	if term := a.steps[a.next].Term; highest > term {
		return fmt.Errorf("a report has seen the term %d, above %d: another activation is under way, or an entry was lost meanwhile", highest, term)
	}
	a.next++
	return nil
}

// Confirmed takes the ModifyIndex of the entry in each data centre of the step. It
// fails when one has been changed.
func (a *Activation) Confirmed(modify map[string]uint64) error {
	for _, dc := range a.steps[a.next].Datacenters {
		if modify[dc] != a.modify[dc] {
			return fmt.Errorf("the entry in data centre %s was changed meanwhile: another activation is under way", dc)
		}
	}
	a.next++
	return nil
}

// Forced are the data centres that it goes on without.
func (a *Activation) Forced() []string { return a.forced }

// PassesNobody reports whether all clients are cut.
func (a *Activation) PassesNobody() bool { return a.nobody }

// Unsettled are the data centres without which an entry was written that has not been
// replaced since with all of them there. Forcing others before that is not safe.
func (a *Activation) Unsettled() []string {
	if slices.Equal(a.held, a.forced) {
		return nil
	}
	return a.held
}
