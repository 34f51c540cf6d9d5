package main

import (
	"context"
	"time"
)

// haveSession opens a session where there is none, or it is gone.
func (e *election) haveSession(ctx context.Context) error {
	if e.session != "" && e.doubtful {
		lives, err := e.registry.sessionLives(ctx, e.session)
		if err != nil {
			return err
		}
		if !lives {
			e.log.Warn().Str("session", e.session).Msg("session is gone")
			e.session = ""
		}
	}
	e.doubtful = false
	if e.session != "" {
		return nil
	}
	s, err := e.registry.openSession(ctx)
	if err != nil {
		return err
	}
	e.session = s
	return nil
}

// register makes role the one registered.
func (e *election) register(ctx context.Context, role string) error {
	if e.registered == role {
		return nil
	}
	sent := time.Now()
	if err := e.registry.register(ctx, role); err != nil {
		e.registered = ""
		return err
	}
	e.lease.begin(sent)
	e.registered = role
	e.log.Info().Str("role", role).Msg("registered")
	return nil
}

// leave hands over: a lock that is given back can be taken at once.
func (e *election) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	e.stepDown("told to stop")
	e.stopFollowing()
	e.note(ctx, e.registry.deregister(ctx))
	if e.session == "" {
		return
	}
	for _, key := range []string{e.registry.masterKey(), e.registry.slaveKey()} {
		e.note(ctx, e.registry.release(ctx, key, e.session))
	}
	e.note(ctx, e.registry.closeSession(ctx, e.session))
}
