package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/api"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/client/switchover"
)

// ask asks one instance, and gives its answer to run.
func (r *pauseRun) ask(ctx context.Context, n int, what switchover.Request) {
	ctx, cancel := context.WithTimeoutCause(ctx, pauseQuestion, fmt.Errorf("no answer within %v", pauseQuestion))
	defer cancel()
	reply, err := r.put(ctx, n, what)
	if err != nil {
		reply = switchover.Reply{Outcome: switchover.Failed, Why: err.Error()}
		if no, ok := errors.AsType[*refusal](err); ok && no.code/100 == 4 {
			reply.Outcome = switchover.Refused
			if what == switchover.Move {
				reply.Master = r.masterAt(ctx, n)
			}
		}
	}
	r.events <- switchover.Event{Kind: switchover.Answered, Instance: n, Reply: reply}
}

// put puts one question.
func (r *pauseRun) put(ctx context.Context, n int, what switchover.Request) (switchover.Reply, error) {
	i, c := r.instances[n], r.config.Pause
	query := url.Values{"label": {r.label}, "by": {r.by}}
	switch what {
	case switchover.Begin, switchover.Move:
		query.Set("for", c.For.String())
		if c.CloseQuiet {
			query.Set("close", "quiet")
		}
		if what == switchover.Move {
			query.Set("move", "true")
		}
		s, err := i.askPause(ctx, http.MethodPost, query)
		if err != nil {
			return switchover.Reply{}, err
		}
		return r.note(n, s, ""), nil
	case switchover.End:
		s, err := i.askPause(ctx, http.MethodDelete, query)
		if err != nil {
			return switchover.Reply{}, err
		}
		return r.note(n, s, ""), nil
	}
	var all []api.Paused
	if _, err := i.ask(ctx, http.MethodGet, "/pause", nil, &all); err != nil {
		return switchover.Reply{}, err
	}
	for _, p := range all {
		if p.Label == r.label && p.By == r.by {
			master := ""
			if p.Master != nil {
				master = *p.Master
			}
			return r.note(n, p.PauseState, master), nil
		}
	}
	return switchover.Reply{}, nil
}

// masterAt is the master to which instance n connects clients of the label; empty: none,
// it is not known, or they are held. After a pause they are for moments, until a read
// has named the master: that is awaited until ctx ends.
func (r *pauseRun) masterAt(ctx context.Context, n int) string {
	for {
		s, err := r.instances[n].state(ctx)
		if err != nil {
			return ""
		}
		l := s.labels[r.label]
		if l == nil || l.Paused != nil {
			return ""
		}
		if l.Reason == "" && l.Master != nil {
			return l.Master.Address
		}
		select {
		case <-time.After(pausePoll):
		case <-ctx.Done():
			return ""
		}
	}
}

// note keeps what instance n has answered, and gives it to the machine.
func (r *pauseRun) note(n int, s api.PauseState, master string) switchover.Reply {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.states[n] = &s
	return switchover.Reply{Paused: s.Paused && s.By == r.by, Active: s.Active, Master: master}
}

// askPause puts a question that is answered by the state of one pause.
func (i *instance) askPause(ctx context.Context, method string, query url.Values) (s api.PauseState, err error) {
	if _, err = i.ask(ctx, method, "/pause", query, &s); err == nil && s.Label == "" {
		err = errForeign
	}
	return s, err
}
