package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/admin"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/drain"
	"github.com/rosproxy/rosproxy/proxy"
)

// newSource makes the source of masters that c names. Its error is a fault of
// the configuration: a Consul that is away is none.
func newSource(c config.Config, log zerolog.Logger) (discovery.Source, error) {
	if c.Static != nil {
		s, err := discovery.NewStatic(c.Static, c.Discovery.Labels, log)
		if err != nil {
			return nil, fmt.Errorf("--static-master: %w", err)
		}
		return s, nil
	}
	s, err := discovery.NewConsul(c.Discovery, log)
	if err != nil {
		return nil, fmt.Errorf("--consul-addr or CONSUL_*: %w", err)
	}
	return s, nil
}

// sink passes on to the data plane what a source of masters decides.
type sink struct{ proxy *proxy.Proxy }

// SetMaster implements discovery.Sink. What names the master is shown in many
// places, and is as long as whoever registered it likes.
func (s sink) SetMaster(label string, m discovery.Master) {
	m.ServiceID = config.Trim(m.ServiceID, config.MaxServiceID)
	m.Node = config.Trim(m.Node, config.MaxServiceID)
	s.proxy.SetMaster(label, proxy.Master(m))
}

// ClearMaster implements discovery.Sink.
func (s sink) ClearMaster(label string, cut bool) {
	if cut {
		s.proxy.SetMaster(label, proxy.Master{})
		return
	}
	s.proxy.Suspend(label)
}

// Confirm implements discovery.Sink.
func (s sink) Confirm(label string, begun time.Duration) {}

// Lease implements discovery.Sink.
func (s sink) Lease(label string, until time.Duration) {}

// target is the data plane as a drain sees it.
type target struct{ proxy *proxy.Proxy }

// Shutdown implements drain.Target.
func (t target) Shutdown(ctx context.Context) (drain.Rest, error) {
	before := t.ended()
	err := t.proxy.Shutdown(ctx)
	after := t.ended()
	return drain.Rest{Parted: after.Parted - before.Parted, Cut: after.Cut - before.Cut}, err
}

// Resume implements drain.Target.
func (t target) Resume() error { return t.proxy.Resume() }

// Active implements drain.Target.
func (t target) Active() int { return t.proxy.Active() }

// ended is how many connections deadlines of drains have ended so far.
func (t target) ended() drain.Rest {
	var n drain.Rest
	for _, l := range t.proxy.Snapshot().Labels {
		n.Parted += int(l.ClosedQuiet)
		n.Cut += int(l.Closed[proxy.DrainDeadline] - l.ClosedQuiet)
	}
	return n
}

// version is set by the build: -ldflags "-X main.version=v1.2.3". Without it
// the version of the module counts.
var version string

// build is what the build says of the program.
func build() admin.Build {
	b := admin.Build{Version: version, Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if ok {
		if b.Version == "" {
			b.Version = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				b.Revision = s.Value[:min(12, len(s.Value))]
			}
		}
	}
	if b.Version == "" {
		b.Version = "(devel)"
	}
	return b
}
