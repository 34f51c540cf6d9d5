package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// Session holds keys, which go when it does.
type Session struct {
	agent *Agent
	id    string
}

// OpenSession opens a session. What it held may be acquired by another as soon
// as it has ended.
func (a *Agent) OpenSession(ctx context.Context) (*Session, error) {
	var answer struct{ ID string }
	body := map[string]any{"Behavior": "delete", "LockDelay": "0s"}
	if err := a.call(ctx, http.MethodPut, "/v1/session/create", body, &answer); err != nil {
		return nil, fmt.Errorf("open a session: %w", err)
	}
	return &Session{agent: a, id: answer.ID}, nil
}

// Acquire writes value into key, and holds it.
func (s *Session) Acquire(ctx context.Context, key, value string) error {
	var held bool
	if err := s.agent.call(ctx, http.MethodPut, "/v1/kv/"+key+"?acquire="+s.id, []byte(value), &held); err != nil {
		return fmt.Errorf("acquire %s: %w", key, err)
	}
	if !held {
		return errors.New("acquire " + key + ": another session holds it")
	}
	return nil
}

// Destroy ends the session, and returns when Consul has it.
func (s *Session) Destroy(ctx context.Context) error {
	if err := s.agent.call(ctx, http.MethodPut, "/v1/session/destroy/"+s.id, nil, nil); err != nil {
		return fmt.Errorf("destroy a session: %w", err)
	}
	return nil
}
