package proxy

import (
	"net/netip"
	"sync/atomic"
	"time"
)

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

// loss is a time in which a label has no master, after it had one.
type loss struct {
	master netip.AddrPort // the one that it had
	at     time.Time      // since when
	clock  int64          // the same moment

	announced bool // the log has told of it; guarded by history.change
}

// dialTrouble is whether dials to one master fail at the moment, so that it is
// said once when that begins and once when it ends. Times are of the clock.
type dialTrouble struct {
	began    atomic.Int64 // 0: there is none
	warned   atomic.Bool  // of the one that there is
	lastWarn atomic.Int64
	lastCall atomic.Int64 // of Config.OnDialFailure
}

func newEpoch(number uint64, m Master) *epoch {
	e := &epoch{number: number, address: m.Address, since: time.Now()}
	e.master.Store(&m)
	return e
}

// newVacancy is an epoch without a master, after old.
func newVacancy(old *epoch, lost *loss) *epoch {
	e := newEpoch(old.number+1, Master{})
	e.lost = lost
	return e
}

// announced is the address that SetMaster was called with for this epoch.
func (e *epoch) announced() netip.AddrPort {
	if e.refused.IsValid() {
		return e.refused
	}
	return e.address
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
