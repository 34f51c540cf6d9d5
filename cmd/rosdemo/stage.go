package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// stage is what any showing has: where it is shown, rosproxy behind a
// balancer, and what the acts have counted.
type stage struct {
	scr      *screen
	dir      string   // of the logs
	program  string   // rosproxy
	flags    []string // of rosproxy, besides those for its addresses and Consul
	consul   *consul
	balancer *balancer
	cast     func() []*process // what must not end by itself, besides rosproxy and Consul
	count    func() count
	patience time.Duration // a wait this long is explained

	cut          int // connections that rosproxy cut
	staleSockets int // connections from rosproxy to a master that was replaced
	upgradeBroke int // connections that the upgrade broke
}

const (
	calm        = 2 * time.Second // of writing, between what happens
	readingTime = 4 * time.Second // on a terminal
	drainGrace  = time.Second
)

const (
	pollEvery     = 5 * time.Millisecond
	murmurAfter   = 4 * time.Second // a wait this long is explained, in most acts
	statusEvery   = 100 * time.Millisecond
	rateEvery     = 500 * time.Millisecond
	finishTimeout = 25 * time.Second // longer than replyTimeout
)

// act begins an act; who watches gets the time to read what it is about.
func (s *stage) act(ctx context.Context, title string, words ...string) error {
	s.scr.title(title, words...)
	if !s.scr.live {
		return nil
	}
	return pause(ctx, readingTime)
}

// await waits until ready, and says what for when that takes long.
func (s *stage) await(ctx context.Context, what string, ready func() bool) error {
	said := time.Now()
	for !ready() {
		if err := s.trouble(); err != nil {
			return fmt.Errorf("waiting for %s: %w", what, err)
		}
		if time.Since(said) > s.patience {
			said = time.Now()
			s.scr.note("still waiting for %s", what)
		}
		if !sleep(ctx, pollEvery) {
			return fmt.Errorf("%w, waiting for %s", context.Cause(ctx), what)
		}
	}
	return nil
}

// trouble is an error when a process ended that should not have.
func (s *stage) trouble() error {
	all := s.cast()
	for _, r := range s.balancer.all() {
		all = append(all, r.process)
	}
	for _, p := range append(all, s.consul.agent) {
		if p == nil {
			continue
		}
		if err := p.died(); err != nil {
			return err
		}
	}
	return nil
}

// startRosproxy starts an instance and waits until the balancer may use it.
func (s *stage) startRosproxy(ctx context.Context, name string) (*rosproxy, error) {
	r, err := startRosproxy(name, s.program, s.dir, s.consul, s.flags...)
	if err != nil {
		return nil, err
	}
	s.balancer.add(r)
	return r, s.await(ctx, name+" to be ready", r.ready.Load)
}

// showLive keeps the live line until ctx ends: who is master, and the sums.
func (s *stage) showLive(ctx context.Context, master func() string) {
	if !s.scr.live {
		return
	}
	var rate meter
	for sleep(ctx, statusEvery) {
		c := s.count()
		s.scr.status(fmt.Sprintf("  %s | %s acknowledged, %d/s | %d connected, %d waiting",
			master(), thousands(c.acked), rate.read(c.acked, time.Now()), c.live, c.waiting))
	}
	s.scr.close()
}

// meter measures a rate, anew every rateEvery.
type meter struct {
	rate, total int
	at          time.Time
}

func (m *meter) read(total int, now time.Time) int {
	if d := now.Sub(m.at); d > rateEvery {
		if !m.at.IsZero() {
			m.rate = int(float64(total-m.total) / d.Seconds())
		}
		m.total, m.at = total, now
	}
	return m.rate
}

// happening is something that an act waits for.
type happening struct {
	what string
	at   func() time.Time // zero: not yet
	text func() string
}

// follow waits for all of the happenings and prints each as it comes, in the
// order of their times.
func (s *stage) follow(ctx context.Context, began time.Time, pending []happening) error {
	for len(pending) > 0 {
		var come []happening
		names := make([]string, len(pending))
		for i, h := range pending {
			names[i] = h.what
		}
		err := s.await(ctx, strings.Join(names, ", "), func() bool {
			for _, h := range pending {
				if !h.at().IsZero() {
					come = append(come, h)
				}
			}
			return len(come) > 0
		})
		if err != nil {
			return err
		}
		slices.SortStableFunc(come, func(a, b happening) int { return a.at().Compare(b.at()) })
		for _, h := range come {
			s.scr.event(h.at().Sub(began), "%s", h.text())
		}
		pending = slices.DeleteFunc(pending, func(h happening) bool {
			return slices.ContainsFunc(come, func(c happening) bool { return c.what == h.what })
		})
	}
	return nil
}

// countStale counts what connections to the replaced master, at an address, are open.
func (s *stage) countStale(old, address string) error {
	total := 0
	for _, r := range s.balancer.all() {
		if r.process.ended() {
			continue
		}
		n, err := openSockets(r.process.pid(), address)
		if err != nil {
			return err
		}
		total += n
	}
	s.staleSockets += total
	s.scr.note("the kernel knows %s from rosproxy to %s", plural(total, "connection"), old)
	return nil
}

// pause lets the clients write for a while.
func pause(ctx context.Context, d time.Duration) error {
	if !sleep(ctx, d) {
		return context.Cause(ctx)
	}
	return nil
}

// line prints a number of the summary.
func (s *stage) line(name string, n int, format string, args ...any) {
	s.scr.print(fmt.Sprintf("  %-30s %8s   ", name, thousands(n)) + s.scr.paint(dim, fmt.Sprintf(format, args...)))
}

// zero prints a number that must be 0, and reports whether it is.
func (s *stage) zero(name string, n int) bool {
	color := green
	if n != 0 {
		color = red
	}
	s.scr.print(fmt.Sprintf("  %-30s ", name) + s.scr.paint(color, fmt.Sprintf("%8s", thousands(n))))
	return n == 0
}

// verdict says how the showing has gone, and reports whether it went well.
func (s *stage) verdict(words string, zeros ...bool) bool {
	if slices.Contains(zeros, false) {
		s.scr.print("\n" + s.scr.paint(red, "FAILED: what must be 0 is not."))
		return false
	}
	s.scr.print("\n" + s.scr.paint(green, words))
	return true
}
