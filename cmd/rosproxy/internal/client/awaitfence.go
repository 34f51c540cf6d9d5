package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rosproxy/rosproxy/discovery/operator"
)

// awaitFence waits until every report says that the election has been obeyed, and
// says of each that is behind when the time is up what it is.
func awaitFence(ctx context.Context, s *session) int {
	e := s.config.Election
	if s.progress.terminal {
		e.Waiting = func(behind []operator.FenceBehind) { s.progress.show(waitingFor(behind)) }
	}
	w, err := operator.NewFenceWait(e)
	if err != nil {
		s.say("await-fence: %v", err)
		return exitUsage
	}
	err = w.Await(ctx)
	if err == nil {
		if w.Reports() == 0 { // as it is where the label or the prefix is misspelt
			s.say("await-fence: no instance reports for the label %q below %q", e.Label, e.Prefix)
		}
		return exitDone
	}
	s.say("await-fence: %v", err)
	if late, ok := errors.AsType[*operator.FenceError](err); ok {
		for _, b := range late.Behind {
			s.say("await-fence: %s", describeBehind(b))
		}
		if late.Trouble != nil {
			s.say("await-fence: the reports could not be read again: %v", late.Trouble)
		}
	}
	return exitNotDone
}

// waitingFor is what is waited for, in a line.
func waitingFor(behind []operator.FenceBehind) string {
	var names []string
	for _, b := range behind {
		name := b.Key
		if b.Instance != "" {
			name = fmt.Sprintf("%s pid %d (unchanged for %v)", b.Instance, b.PID, b.Unchanged.Round(100*time.Millisecond))
		}
		names = append(names, name)
	}
	return fmt.Sprintf("waiting for %d: %s", len(names), strings.Join(names, ", "))
}

// describeBehind is all that is known of a report that is behind.
func describeBehind(b operator.FenceBehind) string {
	who := ""
	if b.Instance != "" {
		who = fmt.Sprintf(" of %s, pid %d,", b.Instance, b.PID)
	}
	return fmt.Sprintf("report %s%s %s; unchanged for %v", b.Key, who, b.Why, b.Unchanged.Round(time.Millisecond))
}
