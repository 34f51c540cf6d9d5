package main

import (
	"context"

	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/drain"
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
func (t target) Shutdown(ctx context.Context) (drain.Rest, error) {
	before := t.ended()
	err := t.data.Shutdown(ctx)
	after := t.ended()
	return drain.Rest{Parted: after.Parted - before.Parted, Cut: after.Cut - before.Cut}, err
}

// Resume implements drain.Target.
func (t target) Resume() error { return t.data.Resume() }

// Active implements drain.Target.
func (t target) Active() int { return t.data.Active() }

// ended is how many connections deadlines of drains have ended so far.
func (t target) ended() drain.Rest {
	var n drain.Rest
	for _, l := range t.data.Snapshot().Labels {
		n.Parted += int(l.Parted)
		n.Cut += int(l.Closed[proxy.DrainDeadline] - l.Parted)
	}
	return n
}
