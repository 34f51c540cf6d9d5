package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// upgrade is the act with a number: an instance with the name comer replaces
// the first one, A.
func (s *stage) upgrade(ctx context.Context, number int, comer string) error {
	if err := s.act(ctx, fmt.Sprintf("%d. rosproxy is upgraded by draining", number),
		"Another instance joins the pool behind the balancer. The first one is told to drain: it gets no",
		"new clients, the ones it has end in their own time, and it exits."); err != nil {
		return err
	}
	before := s.count()
	began := time.Now()
	a := s.balancer.all()[0]
	b, err := s.startRosproxy(ctx, "rosproxy "+comer)
	if err != nil {
		return err
	}
	known := b.failovers()
	s.scr.event(time.Since(began), "rosproxy %s is ready: the balancer shares new connections out among %s", comer, letters(s.balancer.all()))
	if err := pause(ctx, calm/2); err != nil {
		return err
	}
	a.process.expectEnd()
	state, err := a.drain(ctx, http.MethodPost, drainGrace)
	if err != nil {
		return err
	}
	drained := time.Now()
	s.scr.event(time.Since(began), "POST /drain?exit=true to A, which has %s", plural(state.Active, "connection"))
	if err := s.await(ctx, "A's /readyz to fail", func() bool { return !a.ready.Load() }); err != nil {
		return err
	}
	s.scr.event(time.Since(began), "A's /readyz answers 503: new connections go to %s; for another %v A would still take some", letters(s.balancer.all()[1:]), drainGrace)
	if err := s.await(ctx, "A's last connection to end, and A to exit", a.process.ended); err != nil {
		return err
	}
	if a.process.err != nil {
		return fmt.Errorf("drain rosproxy A: it ended with %w; its last words:\n%s", a.process.err, tail(a.process.log))
	}
	s.scr.event(time.Since(began), "A's last client has left, %s after the drain began: A exits with status 0", clock(time.Since(drained)))
	if err := pause(ctx, calm/2); err != nil {
		return err
	}
	after := s.count()
	s.scr.note("%s acknowledged meanwhile, %s broken", plural(after.acked-before.acked, "record"),
		plural(after.broken-before.broken, "connection"))
	if b.failovers() == known { // else it was not the upgrade that broke them
		s.upgradeBroke = after.broken - before.broken
	}
	return nil
}

// letters are the names of instances: "A, B and C".
func letters(instances []*rosproxy) string {
	var names []string
	for _, r := range instances {
		names = append(names, strings.TrimPrefix(r.name, "rosproxy "))
	}
	last := len(names) - 1
	if last < 1 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:last], ", ") + " and " + names[last]
}
