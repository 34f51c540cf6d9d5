package proxy

import (
	"net/netip"
	"sync"
	"time"
)

// refusalLines of one reason are at least this far apart, however many clients are refused.
const refusalLines = time.Second

// refusals are clients that were turned away, on their way to the log: in one
// line a second for each reason, with how many, and one of them as an example.
// Any goroutine may use it.
type refusals struct {
	mu sync.Mutex
	by map[Reason]*refusal // guarded by mu
}

type refusal struct {
	count  int // since the last line
	lastAt int64
	label  string
	client netip.AddrPort
	fault  error
}

// isRefusal reports whether a connection that ends so was turned away.
func (r Reason) isRefusal() bool {
	return r == BadProxyHeader || r == UntrustedPeer || r == HoldOverflow
}

func (g *shared) refused(why Reason, label string, client netip.AddrPort, fault error) {
	g.refusals.mu.Lock()
	defer g.refusals.mu.Unlock()
	r := g.refusals.by[why]
	if r == nil {
		if g.refusals.by == nil {
			g.refusals.by = map[Reason]*refusal{}
		}
		r = &refusal{}
		g.refusals.by[why] = r
	}
	r.count++
	r.label, r.client, r.fault = label, client, fault
	g.logRefusal(why, r)
}

// logRefusals logs what has been waiting for its line.
func (g *shared) logRefusals() {
	if !g.refusals.mu.TryLock() { // somebody else is at it
		return
	}
	defer g.refusals.mu.Unlock()
	for why, r := range g.refusals.by {
		g.logRefusal(why, r)
	}
}

func (g *shared) logRefusal(why Reason, r *refusal) {
	now := g.clock.now()
	if r.count == 0 || r.lastAt != 0 && now-r.lastAt < int64(refusalLines) {
		return
	}
	line := g.log.Info().Stringer("reason", why).Int("count", r.count).Str("label", r.label).Stringer("client", r.client)
	if r.fault != nil {
		line = line.AnErr("error", r.fault)
	}
	line.Msg("clients refused")
	r.count, r.lastAt = 0, now
}
