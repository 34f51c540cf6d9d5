package main

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

// watch follows what Consul says of the workers: the same that rosproxy asks.
type watch struct {
	client *api.Client
	label  string

	mu    sync.Mutex
	roles map[string]string    // role of each passing worker, by SYNC_ID
	since map[string]time.Time // when the worker got that role, or lost its last
}

func newWatch(c *consul) *watch {
	return &watch{client: c.client, label: c.label, roles: map[string]string{}, since: map[string]time.Time{}}
}

// run follows until ctx ends.
func (w *watch) run(ctx context.Context) {
	var index uint64
	for ctx.Err() == nil {
		q := (&api.QueryOptions{WaitIndex: index, WaitTime: 5 * time.Second}).WithContext(ctx)
		entries, meta, err := w.client.Health().ServiceMultipleTags("sync", []string{"label=" + w.label}, true, q)
		if err != nil || meta.LastIndex < index {
			index = 0
			sleep(ctx, 50*time.Millisecond)
			continue
		}
		index = meta.LastIndex
		roles := map[string]string{}
		for _, e := range entries {
			id := strings.TrimPrefix(e.Service.ID, serviceID(w.label, ""))
			for _, tag := range e.Service.Tags {
				if role, ok := strings.CutPrefix(tag, "role="); ok {
					roles[id] = role
				}
			}
		}
		w.set(roles, time.Now())
	}
}

func (w *watch) set(roles map[string]string, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, role := range roles {
		if w.roles[id] != role {
			w.since[id] = now
		}
	}
	for id := range w.roles {
		if roles[id] == "" {
			w.since[id] = now
		}
	}
	w.roles = roles
}

// role is the worker's role, empty when Consul does not have it as passing, and since when.
func (w *watch) role(id string) (role string, since time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.roles[id], w.since[id]
}

// who has the role, and since when; empty: nobody.
func (w *watch) who(role string) (id string, since time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, r := range w.roles {
		if r == role {
			return id, w.since[id]
		}
	}
	return "", time.Time{}
}
