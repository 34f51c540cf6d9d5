package main

import (
	"context"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/events"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/hook"
)

// openHook makes what runs the command of --on-failover, if there is one.
func (i *instance) openHook(c config.Config, log zerolog.Logger) {
	if c.OnFailover == "" {
		return
	}
	i.hook = hook.New(c.OnFailover, i.program.Env, log.With().Str("component", "hook").Logger())
	i.events.Follow = i.offerToHook
}

// offerToHook has the command run for e, unless that is for another generation of the
// process to do: each hears of every failover.
func (i *instance) offerToHook(e events.Event) {
	if i.takeover.IsAllowed() && !i.upgrader.HandedOver() {
		i.hook.Offer(e)
	}
}

// startHook runs commands until ctx ends. What it answers is closed when none runs
// any more.
func (i *instance) startHook(ctx context.Context) <-chan struct{} {
	ended := make(chan struct{})
	if i.hook == nil {
		close(ended)
		return ended
	}
	go func() {
		defer close(ended)
		i.hook.Run(ctx)
	}()
	return ended
}
