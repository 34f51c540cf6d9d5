package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/api"
)

// resumeLabel ends the pause of a label at all instances, whoever has begun it.
func resumeLabel(ctx context.Context, s *session) int {
	label := s.config.Pause.Label
	if label == "" {
		var ok bool
		if label, ok = theLabel(ctx, s, ""); !ok {
			return exitNotDone
		}
	}
	return printPauses(s, label, askAll(ctx, s, func(ctx context.Context, i *instance) (*api.PauseState, error) {
		return i.resume(ctx, label)
	}))
}

// resume asks again while an upgrade holds up the answer.
func (i *instance) resume(ctx context.Context, label string) (*api.PauseState, error) {
	for began := time.Now(); ; {
		s, err := i.askPause(ctx, http.MethodDelete, url.Values{"label": {label}})
		if err == nil {
			return &s, nil
		}
		if no, ok := errors.AsType[*refusal](err); !ok || no.code != http.StatusServiceUnavailable || time.Since(began) > pauseGive {
			return nil, err
		}
		select {
		case <-time.After(pausePoll):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// pauseDocument is the answer of pause --json and resume --json.
type pauseDocument struct {
	Label     string          `json:"label"`
	Instances []instancePause `json:"instances"`
}

// instancePause is one instance of a pauseDocument.
type instancePause struct {
	Admin string          `json:"admin"`
	Error string          `json:"error,omitempty"`
	Pause *api.PauseState `json:"pause,omitempty"` // as it answered last
}

// printPauses prints how a label is at each instance.
func printPauses(s *session, label string, answers []answer[*api.PauseState]) int {
	if s.config.JSON {
		d := pauseDocument{Label: label, Instances: []instancePause{}}
		for _, a := range answers {
			i := instancePause{Admin: a.from.name, Pause: a.value}
			if a.err != nil {
				i.Error = a.err.Error()
			}
			d.Instances = append(d.Instances, i)
		}
		if err := s.out.document(d); err != nil {
			s.say("%v", err)
			return exitNotDone
		}
		return s.code()
	}
	s.progress.end()
	t := &table{columns: []column{{title: "INSTANCE", gives: 1, least: 21}, {title: "LABEL", gives: 2, least: 8}, {title: "STATE"}, {}}}
	for _, a := range answers {
		look, what, more := good, "", ""
		switch p := a.value; {
		case p == nil:
			look, what = bad, "failed" // a line of its own says why
		case p.Paused && p.Until != nil:
			look, what, more = doubt, "paused", fmt.Sprintf("until %s, %d live, %d held", p.Until.Local().Format(time.TimeOnly), p.Active, p.Held)
		default:
			what, more = "not paused", fmt.Sprintf("%d live", p.Active)
		}
		t.add(text{a.from.name, bold}, text{label, plain}, text{what, look}, text{more, plain})
	}
	t.print(s.out)
	return s.code()
}
