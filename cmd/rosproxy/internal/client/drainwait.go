package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/rosproxy/rosproxy/drain"
)

// Bounds of a wait.
const (
	pollEvery   = 250 * time.Millisecond
	silentFor   = 30 * time.Second // an instance that is there and does not answer
	goneFor     = time.Second      // nobody listens: not just between two processes
	namesInLine = 4                // of instances, in the line of progress
)

// awaitDrained waits until each of the answers is of an instance that is drained
// or whose process is gone. An instance that fails on the way gets an error.
func awaitDrained(ctx context.Context, s *session, answers []answer[*draining]) {
	waits := make([]*drainWait, len(answers))
	for n := range answers {
		waits[n] = &drainWait{answer: &answers[n], heard: time.Now()}
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		left := unfinished(waits)
		if len(left) == 0 {
			return
		}
		s.progress.show(progressText(left))
		select {
		case <-tick.C:
		case <-ctx.Done():
			for _, w := range left {
				w.fail(s, fmt.Errorf("%w: the drain goes on", context.Cause(ctx)))
			}
			return
		}
		lookAll(ctx, s, left)
	}
}

// drainWait is the wait for one instance.
type drainWait struct {
	answer *answer[*draining]
	heard  time.Time // when it answered last
}

func unfinished(waits []*drainWait) (left []*drainWait) {
	for _, w := range waits {
		if d := w.answer.value; d != nil && w.answer.err == nil && !d.gone && d.state.State != drain.Drained {
			left = append(left, w)
		}
	}
	return left
}

// lookAll asks those that are not finished.
func lookAll(ctx context.Context, s *session, left []*drainWait) {
	instances := make([]*instance, len(left))
	pids := map[*instance]int{}
	for n, w := range left {
		instances[n], pids[w.answer.from] = w.answer.from, w.answer.value.pid
	}
	looks := askEach(ctx, instances, func(ctx context.Context, i *instance) (*draining, error) {
		return i.drainOf(ctx, pids[i])
	})
	for n, w := range left {
		w.take(s, looks[n].value, looks[n].err)
	}
}

// take judges what the instance answered.
func (w *drainWait) take(s *session, d *draining, err error) {
	now := time.Now()
	switch {
	case err == nil:
		*w.answer.value, w.heard = *d, now
		if !d.gone && d.state.State == drain.Serving {
			w.fail(s, errors.New("it serves again: somebody has ended the drain"))
		}
	case isNobody(err):
		w.answer.value.gone = now.Sub(w.heard) > goneFor
	case now.Sub(w.heard) > silentFor:
		w.fail(s, err)
	}
}

func (w *drainWait) fail(s *session, err error) {
	w.answer.err = err
	s.fail(w.answer.from, err)
}

// drainOf asks for the drain of the process that has a pid.
func (i *instance) drainOf(ctx context.Context, pid int) (*draining, error) {
	d, err := i.askDrain(ctx, "GET", nil)
	if err != nil {
		return nil, err
	}
	d.pid = pid
	if d.state.State == drain.Serving {
		now, err := i.state(ctx)
		if err != nil {
			return nil, err
		}
		d.gone = now.status.PID != pid
	}
	return d, nil
}

// isNobody reports whether nobody listens where an instance was.
func isNobody(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT)
}

// progressText says how many connections are still live.
func progressText(left []*drainWait) string {
	var parts []string
	for n, w := range left {
		if n == namesInLine {
			parts = append(parts, fmt.Sprintf("%d more", len(left)-n))
			break
		}
		parts = append(parts, fmt.Sprintf("%s %d live", w.answer.from.name, w.answer.value.state.Active))
	}
	return "draining: " + strings.Join(parts, ", ")
}
