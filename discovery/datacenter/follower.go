package datacenter

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Read is what a reader knows of the entry in one data centre. All times are of
// one clock.
type Read struct {
	// Understood: it was answered, and is absent or an entry. Else it is not known.
	Understood bool
	Entry      Entry         // Term 0: it is absent
	Begun      time.Duration // when the newest consistent read began that said so, or what cannot be understood; 0: none has
	Why        string        // it is not understood, or cannot be read any more, for people; empty: it can, or there was no answer yet
}

// Follower is the state machine of which data centre is active, by the entries that
// were read. It forgets no term that it has seen. NewFollower makes one.
type Follower struct {
	datacenters []string
	reads       []Read // one each
	newest      Entry  // Term 0: none was seen
	split       bool   // another entry of the same term names another data centre
}

// NewFollower makes one that has seen nothing of the entries in datacenters.
func NewFollower(datacenters []string) Follower {
	return Follower{datacenters: datacenters, reads: make([]Read, len(datacenters))}
}

// Take takes what is known now of the entry in dc, which is one of its own. It
// reports whether a higher term has been seen.
func (f *Follower) Take(dc string, r Read) (newer bool) {
	f.reads[slices.Index(f.datacenters, dc)] = r
	switch {
	case !r.Understood || r.Entry.Term < f.newest.Term || r.Entry.Term == 0:
		return false
	case r.Entry.Term == f.newest.Term:
		f.split = f.split || r.Entry.Active != f.newest.Active
		return false
	}
	f.newest, f.split = r.Entry, false
	return true
}

// Term is the highest that was seen; 0: none.
func (f *Follower) Term() uint64 { return f.newest.Term }

// Newest is the entry with the highest term.
func (f *Follower) Newest() Entry { return f.newest }

// Active is the active data centre; empty: nobody is, or it is not known who is, and
// why says for people which.
func (f *Follower) Active() (dc, why string) {
	switch {
	case f.split:
		return "", fmt.Sprintf("two entries of term %d name different data centres", f.newest.Term)
	case f.newest.Term > 0 && f.newest.Active == "":
		return "", NobodyActive
	case f.newest.Term > 0:
		return f.newest.Active, ""
	}
	for i, r := range f.reads {
		if !r.Understood || r.Begun == 0 {
			return "", f.unread(i)
		}
	}
	return "", NobodyActive
}

// NobodyActive is why there is no active data centre where the entries say so.
const NobodyActive = "no active data centre"

// IsNobody reports whether it is known that no data centre is active.
func (f *Follower) IsNobody() bool {
	dc, why := f.Active()
	return dc == "" && why == NobodyActive
}

// Unread names the data centres whose entry must be read, and was not by a
// consistent read that began after since: all but those that the newest entry was
// written without.
func (f *Follower) Unread(since time.Duration) (datacenters []string) {
	for i, dc := range f.datacenters {
		if r := f.reads[i]; !f.newest.IsWithout(dc) && (!r.Understood || r.Begun <= since) {
			datacenters = append(datacenters, dc)
		}
	}
	return datacenters
}

// WhyUnread says for people why the entries of datacenters are not known.
func (f *Follower) WhyUnread(datacenters []string) string {
	var all []string
	for _, dc := range datacenters {
		all = append(all, f.unread(slices.Index(f.datacenters, dc)))
	}
	return strings.Join(all, "; ")
}

func (f *Follower) unread(i int) string {
	if why := f.reads[i].Why; why != "" {
		return fmt.Sprintf("the entry in data centre %s is not known: %s", f.datacenters[i], why)
	}
	return fmt.Sprintf("the entry in data centre %s has not been read yet", f.datacenters[i])
}

// Begun is when the newest consistent read began that has understood the entry in dc;
// 0: none has.
func (f *Follower) Begun(dc string) time.Duration {
	if i := slices.Index(f.datacenters, dc); i >= 0 && f.reads[i].Understood {
		return f.reads[i].Begun
	}
	return 0
}

// Answered is Begun, of what cannot be understood as well.
func (f *Follower) Answered(dc string) time.Duration {
	if i := slices.Index(f.datacenters, dc); i >= 0 {
		return f.reads[i].Begun
	}
	return 0
}

// Clone is a copy that shares nothing with f that changes.
func (f *Follower) Clone() Follower {
	c := *f
	c.reads = slices.Clone(f.reads)
	return c
}

// NewestBegun is the newest Begun of all; 0: there is none.
func (f *Follower) NewestBegun() time.Duration { return f.newestOf(f.Begun) }

// NewestAnswered is the newest Answered of all; 0: there is none.
func (f *Follower) NewestAnswered() time.Duration { return f.newestOf(f.Answered) }

func (f *Follower) newestOf(read func(dc string) time.Duration) (newest time.Duration) {
	for _, dc := range f.datacenters {
		newest = max(newest, read(dc))
	}
	return newest
}
