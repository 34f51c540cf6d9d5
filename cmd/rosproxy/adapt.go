package main

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/events"
	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/drain"
	"github.com/rosproxy/rosproxy/proxy"
)

// sink passes on to the data plane what a source of masters decides.
type sink struct {
	proxy  *proxy.Proxy
	events *events.Recent
}

// SetMaster implements discovery.Sink.
func (s sink) SetMaster(label string, m discovery.Master) {
	s.proxy.SetMaster(label, proxy.Master(m))
}

// maxReason bounds the reason of a loss in the log, in bytes.
const maxReason = 256

// ClearMaster implements discovery.Sink.
func (s sink) ClearMaster(label string, l discovery.Loss) {
	s.proxy.Lose(label, proxy.Loss{
		Cut:      l.Cut,
		Announce: l.State == discovery.None,
		Reason:   cmp.Or(config.Printable(l.Why, maxReason), string(l.State)),
	})
}

// Confirm implements discovery.Sink.
func (s sink) Confirm(label string, begun time.Duration) { s.proxy.Confirm(label, begun) }

// Lease implements discovery.Sink.
func (s sink) Lease(label string, until time.Duration) { s.proxy.Lease(label, until) }

// Event implements discovery.Sink.
func (s sink) Event(event, message string, fields []any) { s.events.Add(event, message, fields) }

// withHints is c for a data plane that tells source what it notices: that
// dials to a master fail, that the process stood still, that a pause has begun or
// ended. After a standstill it waits until Consul has confirmed the master: for as long as one answer may take, or
// however long it takes where an outage is to be fenced.
func withHints(c config.Config, source discovery.Source) proxy.Config {
	p := c.Proxy
	p.OnDialFailure = func(label string, _ error) { source.DialFailed(label) }
	p.OnStandstill, p.OnPause = source.VerifyNow, source.VerifyNow
	p.Listeners = slices.Clone(p.Listeners)
	for i, l := range c.Discovery.Labels { // which are in the order of the listeners
		p.Listeners[i].KillAfterLease = c.Static[l.Name] == "" && c.Discovery.Of(l).Reports != nil
		switch {
		case c.Static[l.Name] != "":
		case c.Discovery.Of(l).OnOutage == discovery.Fence:
			p.Listeners[i].Revalidate = -1
		default:
			p.Listeners[i].Revalidate = discovery.DefaultVerifyTimeout
		}
	}
	return p
}

// target is the data plane as a drain sees it.
type target struct{ proxy *proxy.Proxy }

// Shutdown implements drain.Target.
func (t target) Shutdown(ctx context.Context) (drain.Rest, error) {
	before := t.ended()
	err := t.proxy.Shutdown(ctx)
	after := t.ended()
	return drain.Rest{Closed: after.Closed - before.Closed, Cut: after.Cut - before.Cut}, err
}

// Resume implements drain.Target.
func (t target) Resume() error { return t.proxy.AcceptAgain() }

// Reclaim implements drain.Target.
func (t target) Reclaim() error { return t.proxy.Reclaim() }

// Active implements drain.Target.
func (t target) Active() int { return t.proxy.Active() }

// ended is how many connections deadlines of drains have ended so far.
func (t target) ended() drain.Rest {
	var n drain.Rest
	for _, l := range t.proxy.Snapshot().Labels {
		n.Closed += int(l.ClosedQuiet)
		n.Cut += int(l.Closed[proxy.DrainDeadline] - l.ClosedQuiet)
	}
	return n
}
