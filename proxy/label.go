package proxy

import (
	"cmp"
	"math"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/rosproxy/rosproxy/proxy/pausing"
)

// Master is the one instance that clients of a label are connected to. The
// zero Master is none.
type Master struct {
	Address   netip.AddrPort
	ServiceID string
	Node      string
	Seen      time.Time // when the answer that named it arrived; zero: not known
}

// label is what shards know of one label: its current epoch, which is the
// fence, and until when that may be trusted. Every shard compares a
// connection's epoch with the current one before each transfer, so from the
// moment another is stored none begins for an earlier epoch.
type label struct {
	index   int // of its listener in the configuration
	name    string
	current atomic.Pointer[epoch]

	// Times of the clock.
	confirmed  atomic.Int64  // when the last read began that named the current master
	lease      atomic.Int64  // from then on no transfer begins
	revalidate time.Duration // Listener.Revalidate

	pause   atomic.Pointer[pausing.State] // nil: none. It does not change: another one takes its place. What holds new clients beside it is the epoch
	resumed atomic.Int64                  // when the clients of the last pause were let go; 0: there was none
	changed atomic.Int64                  // when the label got its master, again or for the first time

	settings labelSettings // fixed

	pace  *pace        // of released clients; nil: none
	held  atomic.Int64 // its clients that wait for a master
	live  atomic.Int64 // its connections that have reached a master
	guard *leaseGuard  // of its lease; nil: nobody is killed for it
}

// noLease is the end of the lease of a label that has none.
const noLease = math.MaxInt64

// labelSettings are those that count for one label.
type labelSettings struct {
	Settings
	trusted    trusted       // AcceptProxyFrom
	checkEvery time.Duration // how often bytes on their way are looked at; 0: no timeout asks for it
}

// settingsOf gives the settings of l's label.
func settingsOf(c *Config, l Listener) (s labelSettings, err error) {
	s.Settings = c.Settings()
	if l.Settings != nil {
		s.Settings = *l.Settings
	}
	s.ConnectTimeout = cmp.Or(s.ConnectTimeout, defaultConnectTimeout)
	s.checkEvery = checkInterval(c.UserTimeout, c.HalfCloseTimeout, s.IdleTimeout)
	s.trusted, err = trustedOf(s.AcceptProxyFrom)
	return s, err
}

// checksPerTimeout is how often bytes that wait are looked at in the shortest timeout.
const checksPerTimeout = 4

// checkInterval is how often; 0: there is no timeout.
func checkInterval(timeouts ...time.Duration) time.Duration {
	shortest := time.Duration(0)
	for _, t := range timeouts {
		if t > 0 && (shortest == 0 || t < shortest) {
			shortest = t
		}
	}
	return shortest / checksPerTimeout
}

func newLabel(index int, l Listener, s labelSettings) *label {
	out := &label{index: index, name: l.Label, revalidate: l.Revalidate, settings: s}
	out.lease.Store(noLease)
	out.current.Store(newEpoch(0, Master{}))
	return out
}

// nameOf is empty for the address of none.
func nameOf(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
