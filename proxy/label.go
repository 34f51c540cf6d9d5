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
	changed atomic.Int64                  // when the label got its master, or lost it

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

func newLabel(index int, l Listener, s labelSettings) *label {
	out := &label{index: index, name: l.Label, revalidate: l.Revalidate, settings: s}
	out.lease.Store(noLease)
	out.current.Store(newEpoch(0, Master{}))
	return out
}

// epoch is the time of one master. A connection belongs to the epoch it
// was dialled in, and dies with it.
type epoch struct {
	number    uint64
	address   netip.AddrPort         // of the master; zero: an epoch without one
	master    atomic.Pointer[Master] // all that is known of it; its Address is that of the epoch
	since     time.Time
	refused   netip.AddrPort       // the master would have been one of our own listeners
	lost      *loss                // with no address: since when there is no master; nil: there never was one
	suspended atomic.Pointer[loss] // not nil: the master is gone for now, and no other elected
	trouble   dialTrouble
}

func newEpoch(number uint64, m Master) *epoch {
	e := &epoch{number: number, address: m.Address, since: time.Now()}
	e.master.Store(&m)
	return e
}

// takesClients reports whether a new connection may be dialled.
func (e *epoch) takesClients() bool { return e.address.IsValid() && e.suspended.Load() == nil }

// inOffice answers who takes new connections. When nobody does: since when, nil
// for a label that never had a master.
func (e *epoch) inOffice() (m *Master, since *loss) {
	if since = e.suspended.Load(); since != nil {
		return nil, since
	}
	if !e.address.IsValid() {
		return nil, e.lost
	}
	return e.master.Load(), nil
}

// dialTrouble is whether dials to one master fail at the moment, so that it is
// said once when that begins and once when it ends. Times are of the clock.
type dialTrouble struct {
	began    atomic.Int64 // 0: there is none
	warned   atomic.Bool  // of the one that there is
	lastWarn atomic.Int64
	lastCall atomic.Int64 // of Config.OnDialFailure
}

// doubts are the labels whose masters a shard may not trust after it stood
// still, until a read that began afterwards has confirmed them. They belong to
// its loop.
type doubts struct {
	since int64 // of the clock; 0: there is none
	about []bool
}

func (d *doubts) has(l *label) bool { return d.since != 0 && d.about[l.index] }

// isOver reports whether l may be trusted again. A doubt ends without a
// confirmation where the label says for how long it can last.
func (d *doubts) isOver(l *label, now int64) bool {
	return l.revalidate == 0 || l.confirmed.Load() >= d.since || l.revalidate > 0 && now >= d.since+int64(l.revalidate)
}

// nameOf is empty for the address of none.
func nameOf(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
