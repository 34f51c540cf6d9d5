package client

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/api"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
	"github.com/rosproxy/rosproxy/drain"
)

// draining is an instance whose drain was asked for.
type draining struct {
	at    time.Time // by its own clock
	state api.DrainState
	pid   int  // of the process that drains; 0: not known
	gone  bool // the process
}

// startDrain drains all instances, and waits for them if that is wanted. A drain
// goes on when the wait is interrupted.
func startDrain(ctx context.Context, s *session) int {
	answers := askAll(ctx, s, func(ctx context.Context, i *instance) (*draining, error) {
		return i.startDrain(ctx, s.config.Drain)
	})
	if s.config.Drain.Wait {
		awaitDrained(ctx, s, answers)
	}
	return printDrains(s, answers)
}

// undoDrain lets all instances serve again.
func undoDrain(ctx context.Context, s *session) int {
	return printDrains(s, askAll(ctx, s, func(ctx context.Context, i *instance) (*draining, error) {
		return i.askDrain(ctx, "DELETE", nil)
	}))
}

func (i *instance) startDrain(ctx context.Context, r config.DrainRequest) (*draining, error) {
	query := url.Values{}
	if r.Grace != nil {
		query.Set("grace", r.Grace.String())
	}
	if r.Timeout != nil {
		query.Set("timeout", r.Timeout.String())
	}
	if r.Exit {
		query.Set("exit", "true")
	}
	if !r.Wait {
		return i.askDrain(ctx, "POST", query)
	}
	before, err := i.state(ctx) // to tell that process from another one at the same address
	if err != nil {
		return nil, err
	}
	d, err := i.askDrain(ctx, "POST", query)
	if err != nil {
		return nil, err
	}
	d.pid = before.status.PID
	return d, nil
}

func (i *instance) askDrain(ctx context.Context, method string, query url.Values) (*draining, error) {
	var d draining
	var err error
	if d.at, err = i.ask(ctx, method, "/drain", query, &d.state); err != nil {
		return nil, err
	}
	if d.state.State == "" {
		return nil, errForeign
	}
	return &d, nil
}

// printDrains prints what has become of each instance.
func printDrains(s *session, answers []answer[*draining]) int {
	if s.config.JSON {
		if err := s.out.document(newDrainDocument(answers)); err != nil {
			s.say("%v", err)
			return exitNotDone
		}
		return s.code()
	}
	s.progress.end()
	t := &table{columns: []column{{title: "INSTANCE", gives: 1, least: 21}, {title: "STATE"}}}
	for _, a := range answers {
		look, what, more := good, "", ""
		switch {
		case a.value == nil:
			look, what = bad, "failed" // a line of its own says why
		case a.value.gone:
			what, more = "gone", "its process has ended"
		default:
			what, more = string(a.value.state.State), drainText(a.value.at, &a.value.state)
		}
		t.add([]text{{more, plain}}, text{a.from.name, bold}, text{what, look})
	}
	t.print(s.out)
	return s.code()
}

// drainDocument is the answer of drain --json and undrain --json.
type drainDocument struct {
	Instances []instanceDrain `json:"instances"`
}

// instanceDrain is one instance of a drainDocument.
type instanceDrain struct {
	Admin string          `json:"admin"`
	Error string          `json:"error,omitempty"`
	Gone  bool            `json:"gone,omitempty"` // its process has ended
	Drain *api.DrainState `json:"drain,omitempty"`
}

func newDrainDocument(answers []answer[*draining]) drainDocument {
	d := drainDocument{Instances: []instanceDrain{}}
	for _, a := range answers {
		i := instanceDrain{Admin: a.from.name}
		if a.err != nil {
			i.Error = a.err.Error()
		}
		if a.value != nil {
			i.Gone = a.value.gone
			if !i.Gone {
				i.Drain = &a.value.state
			}
		}
		d.Instances = append(d.Instances, i)
	}
	return d
}

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
	if ctx.Err() != nil {
		return // they did not answer because of that
	}
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
