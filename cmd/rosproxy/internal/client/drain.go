package client

import (
	"context"
	"net/url"
	"time"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/api"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
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
	t := &table{columns: []column{{title: "INSTANCE", gives: 1, least: 21}, {title: "STATE", gives: 2, least: 8}, {gives: 3, least: 40}}}
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
		t.add(text{a.from.name, bold}, text{what, look}, text{more, plain})
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
