package discovery

import "time"

// view is what a label knows of the answers to a question: by the last one that
// counted for it. It is never changed.
type view struct {
	kind    kind          // found or none; unknown: there was no answer yet
	claims  *claims       // of a service
	entry   *entry        // of a key
	arrived time.Time     // when the answer came that was the first to say this
	begun   time.Duration // when the newest consistent read began that said this, since boot; 0: none
	index   uint64        // X-Consul-Index of the last answer that said this
	denied  string        // why the last answer told nothing: the token may not see it
}

// after is the view once a has been taken, which counts, by a subscriber that
// wants the instances of label. verify: nothing may follow from a, which says
// that there is nobody any more, before a consistent read has said so too.
func (v view) after(a answer, label string) (next view, verify bool) {
	next = view{kind: a.kind, entry: a.entry, arrived: a.arrived, begun: a.begun, index: a.index}
	if in := a.instances; in != nil {
		next.claims = in.of(label)
		if len(next.claims.candidates)+len(next.claims.rejects) == 0 {
			if next.kind = none; a.filtered != nil {
				v.denied = a.filtered.Error()
				return v, false
			}
			if in.malformed > 0 {
				return v, false // one of those may be it
			}
		}
	}
	if next.kind == none && v.kind != none && !a.consistent {
		return v, true
	}
	if v.says(next, a.consistent) {
		v.begun, v.index, v.denied = max(v.begun, a.begun), a.index, ""
		return v, false
	}
	return next, false
}

// says reports whether v and w, by a consistent read or by a long poll, say the same
// of who is there. A long poll is not told of those whose checks fail.
func (v view) says(w view, consistent bool) bool {
	if v.kind != w.kind || (v.claims == nil) != (w.claims == nil) {
		return false
	}
	if v.claims == w.claims {
		return v.entry.equal(w.entry)
	}
	return v.claims.claimEqually(w.claims) && (!consistent || v.claims.failEqually(w.claims))
}
