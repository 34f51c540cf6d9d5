package discovery

import (
	"fmt"
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
		return s.mastership.lose(firstFew(v.claims.failing), now)
	case found:
		s.claims = v.claims
	default:
		return order{}
	}
	if len(v.claims.candidates) == 0 {
		if s.mastership.state != Found {
			s.mastership.why = firstFew(v.claims.rejects)
		}
		return order{} // who it is cannot be told: as good as unknown
	}
	c := elect(v.claims.candidates)
	s.seen = c.seen
	if c.seen > 1 && s.conflict == Refuse {
		return s.mastership.oust(Conflict, "")
	}
	return s.mastership.elect(c.winner, v.arrived, v.begun)
}

// firstFew names the first of all, who fail or cannot be followed, and why; empty: there are none.
func firstFew[T fmt.Stringer](all []T) string {
	shown := make([]string, 0, 3)
	for _, one := range all[:min(len(all), cap(shown))] {
		shown = append(shown, one.String())
	}
	if len(all) > len(shown) {
		shown = append(shown, "and more")
	}
	return strings.Join(shown, "; ")
}
