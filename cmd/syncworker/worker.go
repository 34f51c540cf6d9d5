package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"
)

// worker is the whole program: what it holds, who it answers to, and its part
// in the election.
type worker struct {
	listener net.Listener
	server   *server
	election *election
	registry *registry
	lease    *lease
	log      zerolog.Logger
}

// newWorker opens the worker's port; nothing is accepted before run.
func newWorker(o options, log zerolog.Logger) (*worker, error) {
	client, err := newConsulClient(o.ConsulAddr, "")
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", o.Listen, err)
	}
	addr, err := netip.ParseAddrPort(ln.Addr().String())
	if err != nil || addr.Addr().IsUnspecified() {
		ln.Close()
		return nil, fmt.Errorf("listen on %s: want an address that others can reach, it is registered", o.Listen)
	}
	self := member{ID: o.ID, Incarnation: newIncarnation()}
	reg := &registry{
		client: client, service: o.Service, label: o.Label, id: self.ID, run: self.Incarnation,
		address: addr, ttl: o.CheckTTL,
	}
	st, le := newStore(), &lease{ttl: o.CheckTTL}
	srv := &server{id: o.ID, store: st, log: log, conns: make(map[net.Conn]bool)}
	changed := make(chan struct{}, 1)
	var fromBackup *restoring
	if o.Restore != "" {
		fromBackup = &restoring{path: o.Restore, replaces: o.RestoreOver, warm: o.WarmSpare, log: log, news: changed}
	}
	return &worker{
		listener: ln,
		server:   srv,
		registry: reg,
		lease:    le,
		log:      log,
		election: &election{
			registry: reg, lease: le, store: st, server: srv, alone: o.AloneAfter, log: log, self: self,
			restoring: fromBackup, changed: changed,
			reports: reports{prefix: o.FenceReport, consul: o.ConsulAddr},
		},
	}, nil
}

// newIncarnation names one run of a worker.
func newIncarnation() string {
	var b [8]byte
	rand.Read(b[:]) //nolint:errcheck // it never fails
	return hex.EncodeToString(b[:])
}

// run works until ctx ends, then hands over: the worker deregisters, gives its
// locks back and closes its connections before run returns.
func (w *worker) run(ctx context.Context) error {
	w.log.Info().Stringer("listen", w.listener.Addr()).Str("incarnation", w.election.self.Incarnation).Msg("worker started")
	serving, stopServing := context.WithCancel(context.Background())
	defer stopServing()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return w.server.serve(serving, w.listener) })
	g.Go(func() error { w.heartbeat(ctx); return nil })
	g.Go(func() error {
		defer stopServing() // last: until then clients hear who is not master
		if r := w.election.restoring; r != nil {
			if err := r.first(ctx); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
			if r.warm {
				g.Go(func() error { r.follow(ctx); return nil })
			}
		}
		return w.election.run(ctx)
	})
	err := g.Wait()
	w.log.Info().Msg("worker stopped")
	return err
}

// heartbeat keeps the worker's check passing for as long as its lease lives. A
// worker that was frozen must not pass the check of what it was before: first
// the election registers it anew, as a spare.
func (w *worker) heartbeat(ctx context.Context) {
	ticker := time.NewTicker(w.lease.ttl / 5)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if !w.lease.valid() {
			continue
		}
		sent := time.Now()
		if err := w.registry.alive(ctx); err != nil {
			if ctx.Err() == nil {
				w.log.Warn().Err(err).Msg("heartbeat failed")
			}
			continue
		}
		w.lease.extend(sent)
	}
}
