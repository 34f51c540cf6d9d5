package discovery

import (
	"net/netip"
	"slices"

	"github.com/rs/zerolog"
)

// logged is what the log says of one label, so that each trouble is one line
// when it begins and one when it is over, and none a retry.
type logged struct {
	conflict bool     // several claim to be master
	invalid  []string // whose claims cannot be followed
	failing  []string // who would be master if its checks passed
	term     int      // of the leader that was waited for last
	unknown  string   // the host name that cannot be looked up; empty: none
}

// maxFailing is how many candidates with failing checks are named.
const maxFailing = 16

// logTrouble logs what an operator should look at.
func (w *labelWatch) logTrouble() {
	if w.leader != nil {
		var rejects []reject
		if r := w.leader.reject; r != nil {
			rejects = append(rejects, *r)
		}
		w.logged.claims(w.log, rejects)
		w.logged.leader(w.log, w.leader)
		return
	}
	w.logged.conflicts(w.log, w.choice.seen)
	if c := w.choice.claims; c != nil {
		w.logged.claims(w.log, c.rejects)
		var failing []Failing
		if w.mastership.state == None {
			failing = c.failing
		}
		w.logged.checks(w.log, failing)
	}
}

func (r *logged) conflicts(log zerolog.Logger, seen int) {
	if conflict := seen > 1; conflict != r.conflict {
		r.conflict = conflict
		if conflict {
			log.Warn().Int("masters_seen", seen).Msg("several instances claim to be master")
		} else {
			log.Info().Int("masters_seen", seen).Msg("no longer several masters")
		}
	}
}

func (r *logged) claims(log zerolog.Logger, rejects []reject) {
	var who, all []string
	for _, reject := range rejects {
		who, all = append(who, reject.who), append(all, reject.String())
	}
	slices.Sort(who) // the order of an answer is arbitrary
	if !slices.Equal(who, r.invalid) {
		r.invalid = who
		if len(all) > 0 {
			log.Warn().Strs("invalid", all[:min(len(all), 10)]).Msg("invalid master")
		}
	}
}

// checks says why there is no master, where it is because of failing checks.
func (r *logged) checks(log zerolog.Logger, failing []Failing) {
	var all []string
	for _, f := range failing {
		all = append(all, f.String())
	}
	slices.Sort(all)
	if !slices.Equal(all, r.failing) {
		r.failing = all
		if len(all) > 0 {
			log.Warn().Strs("failing", all[:min(len(all), maxFailing)]).Msg("no master, since the checks of its candidates do not pass")
		}
	}
}

// leader says once of each leader that it is not master yet, and why, when that
// is known: one that is ready when it is first asked is told of as a master. One that
// waits for nothing of its own is not master for another reason, such as a fence
// report that does not stand, which is told elsewhere.
func (r *logged) leader(log zerolog.Logger, l *leader) {
	if l.holder == "" || l.term == r.term || l.mastership.state == Found || l.isReady() || l.isBeingAsked() {
		return
	}
	r.term = l.term
	log.Info().Str("leader", short(l.holder)).Str("waits_for", l.waits).Msg("leader elected that is not ready yet")
}

// lookup logs what became of looking up a master's host name. kept is what it
// stands for meanwhile, if anything.
func (r *logged) lookup(log zerolog.Logger, f lookupResult, kept netip.Addr) {
	switch {
	case f.err != nil && r.unknown != f.host:
		r.unknown = f.host
		e := log.Warn().Str("host", f.host).Err(f.err)
		if kept.IsValid() {
			e = e.Stringer("kept", kept)
		}
		e.Msg("master's host name cannot be looked up")
	case f.err == nil && r.unknown == f.host:
		r.unknown = ""
		log.Info().Str("host", f.host).Stringer("address", f.addr).Msg("master's host name is looked up again")
	}
}
