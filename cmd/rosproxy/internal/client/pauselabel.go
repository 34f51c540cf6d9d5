package client

import (
	"context"
	"fmt"
)

// pausableLabel is the label that is meant, once all instances have answered that
// they have it: until then nothing is paused. It can be interrupted.
func pausableLabel(ctx context.Context, s *session) (label string, ok bool) {
	interruptible(func(ctx context.Context, s *session) int {
		label, ok = theLabel(ctx, s, s.config.Pause.Label)
		return exitDone
	})(ctx, s)
	return label, ok
}

// theLabel is the one that was named, or the only one of all instances.
func theLabel(ctx context.Context, s *session, named string) (label string, ok bool) {
	answers := askAll(ctx, s, func(ctx context.Context, i *instance) (state, error) { return i.state(ctx) })
	if s.failed {
		return "", false
	}
	label = named
	if label == "" {
		labels := labelsOf(answers)
		if len(labels) != 1 {
			s.say("--label is needed: there are %d labels", len(labels))
			return "", false
		}
		label = labels[0]
	}
	for _, a := range answers {
		if a.value.labels[label] == nil {
			s.fail(a.from, fmt.Errorf("it has no label %q", label))
		}
	}
	return label, !s.failed
}
