package main

import (
	"context"

	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/proxy"
)

// sink passes on to the data plane what a source of masters decides.
type sink struct{ data *proxy.Proxy }

// SetMaster implements discovery.Sink.
func (s sink) SetMaster(label string, m discovery.Master) {
	s.data.SetMaster(label, proxy.Master(m))
}

// ClearMaster implements discovery.Sink.
func (s sink) ClearMaster(label string, cut bool) {
	if cut {
		s.data.SetMaster(label, proxy.Master{})
		return
	}
	s.data.Suspend(label)
}

// target is the data plane as a drain sees it.
type target struct{ data *proxy.Proxy }

// Shutdown implements drain.Target.
func (t target) Shutdown(ctx context.Context) (cut int, err error) {
	before := t.cut()
	err = t.data.Shutdown(ctx)
	return t.cut() - before, err
}

// Resume implements drain.Target.
func (t target) Resume() error { return t.data.Resume() }

// Active implements drain.Target.
func (t target) Active() int { return t.data.Active() }

// cut is how many connections deadlines of drains have cut so far.
func (t target) cut() int {
	n := uint64(0)
	for _, l := range t.data.Snapshot().Labels {
		n += l.Closed[proxy.DrainDeadline]
	}
	return int(n)
}
