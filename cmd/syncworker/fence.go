package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/operator"
)

// reports is where the proxies say what they have obeyed.
type reports struct {
	prefix string // empty: they are not waited for
	consul string // HOST:PORT; empty: as the environment says
}

// awaitReports has the term acknowledge once every proxy that reports has obeyed
// the registration of this worker as master. Called again it does no harm.
func (e *election) awaitReports() {
	if e.term.fenced == nil || e.term.awaited {
		return
	}
	e.term.awaited = true
	tm, since := e.term, e.since
	tm.fencing.Go(func() {
		for began := time.Now(); ; {
			n, err := e.awaitFence(tm.ctx, since)
			switch {
			case err == nil:
				tm.log.Info().Int("reports", n).Dur("waited_ms", time.Since(began)).Msg("fenced")
				close(tm.fenced)
				return
			case tm.ctx.Err() != nil:
				return
			}
			tm.log.Warn().Err(err).Msg("proxies may still serve the former master: nothing is acknowledged")
			sleep(tm.ctx, retryEvery)
		}
	})
}

// awaitFence returns nil, and how many proxies report, when all of them have
// obeyed this worker's registration as master, which is newer than since.
func (e *election) awaitFence(ctx context.Context, since uint64) (reports int, err error) {
	index, err := e.registry.masterIndex(ctx, since)
	if err != nil {
		return 0, err
	}
	of := operator.Election{Prefix: e.reports.prefix, Label: e.registry.label, Index: index}
	if e.reports.consul != "" {
		of.Addresses = []string{e.reports.consul}
	}
	w, err := operator.NewFenceWait(of)
	if err != nil {
		return 0, err
	}
	err = w.Await(ctx)
	return w.Reports(), err
}

// masterIndex is the raft index of this worker's registration as master, which the
// agent passes on to the catalog in a moment. Until then one of an earlier term may
// be there, which is not newer than since.
func (r *registry) masterIndex(ctx context.Context, since uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for {
		q := (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx)
		all, _, err := r.client.Health().ServiceMultipleTags(r.service, []string{"role=master", "label=" + r.label}, false, q)
		if err != nil {
			return 0, fmt.Errorf("read the registration of %s: %w", r.serviceID(), err)
		}
		mine := slices.IndexFunc(all, func(s *api.ServiceEntry) bool {
			return s.Service.ID == r.serviceID() && s.Service.ModifyIndex > since
		})
		if mine >= 0 {
			return all[mine].Service.ModifyIndex, nil
		}
		sleep(ctx, 10*time.Millisecond)
	}
}
