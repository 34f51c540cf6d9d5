package datacenter

import (
	"fmt"
	"slices"
	"strings"
)

// survey is what all that was found says together.
type survey struct {
	readable, unread []string // data centres
	newest           Entry    // of the highest term; Term 0: there is none
	split            bool     // two of that term name different data centres
	lost             bool     // an entry is absent or garbled
	held             []string // all that an entry was written without
	term             uint64   // the highest, of entries and reports
	lowest           uint64   // of the reports; MaxTerm: there is none
}

func (a *Activation) survey(found map[string]Found) (survey, error) {
	v := survey{lowest: MaxTerm}
	if !slices.Contains(a.Datacenters, a.Target) {
		return v, refused("%q is none of the data centres %s", a.Target, strings.Join(a.Datacenters, ", "))
	}
	if why := found[a.Target].Unread; why != "" {
		return v, refused("data centre %s, which is to be the active one, cannot be read: %s", a.Target, why)
	}
	for _, dc := range a.Datacenters {
		f := found[dc]
		if f.Unread != "" {
			v.unread = append(v.unread, dc)
			continue
		}
		v.readable = append(v.readable, dc)
		v.add(f)
	}
	if v.term > MaxTerm-aboveLost-aboveActive {
		return v, refused("the term %d is so high that nobody can have reached it", v.term)
	}
	return v, nil
}

func (v *survey) add(f Found) {
	e := f.Entry
	v.lost = v.lost || e.Term == 0
	switch {
	case e.Term > v.newest.Term:
		v.newest, v.split = e, false
	case e.Term == v.newest.Term && e.Term > 0 && !e.Equal(v.newest):
		v.split = true
	}
	v.term, v.held = max(v.term, e.Term, f.Highest), union(v.held, e.Without)
	if f.Lowest > 0 {
		v.lowest = min(v.lowest, f.Lowest)
	}
}

// isSettled reports whether target is active by all entries, written without those
// that cannot be read, and without no others.
func (v *survey) isSettled(target string, found map[string]Found) bool {
	return v.newest.Active == target && v.term == v.newest.Term && slices.Equal(v.newest.Without, v.unread) &&
		len(v.lacking(found)) == 0
}

// lacking are the data centres that do not have the newest entry.
func (v *survey) lacking(found map[string]Found) (lacking []string) {
	for _, dc := range v.readable {
		if !found[dc].Entry.Equal(v.newest) {
			lacking = append(lacking, dc)
		}
	}
	return lacking
}

// refuse says which data centres cannot be read.
func (v *survey) refuse(found map[string]Found) error {
	var all []string
	why := make(map[string]string)
	for _, dc := range v.unread {
		why[dc] = found[dc].Unread
		all = append(all, fmt.Sprintf("%s (%s)", dc, found[dc].Unread))
	}
	r := refused("data centre %s cannot be read; nothing was written. If it is down, and stays down until this command has returned, --force goes on without it", strings.Join(all, ", "))
	r.Unread = why
	return r
}
