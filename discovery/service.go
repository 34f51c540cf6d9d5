package discovery

import (
	"strings"
	"time"
)

// service chooses the master of a label among the instances of a service. It
// does no I/O and reads no clock. One goroutine owns it.
type service struct {
	conflict   ConflictPolicy
	mastership *mastership

	seen   int     // masters in the last view
	claims *claims // of the last view; nil: there was none
}

// look takes the present view.
func (s *service) look(v view, now time.Time) order {
	switch v.kind {
	case none:
		s.seen, s.claims = 0, v.claims
		return s.mastership.lose(whyFailing(v.claims.failing), now)
	case found:
		s.claims = v.claims
	default:
		return order{}
	}
	if len(v.claims.candidates) == 0 {
		return order{} // who it is cannot be told: as good as unknown
	}
	c := elect(v.claims.candidates)
	s.seen = c.seen
	if c.seen > 1 && s.conflict == Refuse {
		return s.mastership.oust(Conflict, "")
	}
	return s.mastership.elect(c.winner, v.arrived, v.begun)
}

// whyFailing says because of which checks there is no master; empty: of none.
func whyFailing(failing []Failing) string {
	if len(failing) == 0 {
		return ""
	}
	shown := make([]string, 0, 3)
	for _, f := range failing[:min(len(failing), cap(shown))] {
		shown = append(shown, f.String())
	}
	if len(failing) > len(shown) {
		shown = append(shown, "and more")
	}
	return strings.Join(shown, "; ")
}
