package consultest

import (
	"net/http"
	"sync"
	"time"
)

// Snapshot is everything that a cluster knew at one moment.
type Snapshot struct{ st *state }

// Snapshot takes a copy of the cluster, as `consul snapshot save` does.
func (s *Server) Snapshot() *Snapshot { return s.backend.snapshot() }

// RestoreSnapshot puts a copy in place, as `consul snapshot restore` does:
// everything is as it was, with the lower indexes it had, while the next write
// goes on from the raft index of now. Lock delays are forgotten, and sessions
// have their whole TTL again. Queries that wait are answered at once, with
// what was there before: so it is in Consul.
func (s *Server) RestoreSnapshot(snap *Snapshot) { s.backend.restore(snap) }

func (b *backend) snapshot() *Snapshot {
	var snap Snapshot
	b.store.view(func(st *state) { snap.st = st.clone() })
	return &snap
}

func (b *backend) restore(snap *Snapshot) {
	b.ttls.stop(false)
	sessions := map[string]time.Duration{}
	b.store.replace(func(old *state) *state {
		st := snap.st.clone()
		st.index = max(st.index, old.index) + 1
		clear(st.lockDelays)
		for id, row := range st.sessions {
			sessions[id], _ = parseTTL(row.TTL) // it was one when the session began
		}
		return st
	})
	for id, ttl := range sessions {
		b.ttls.set(id, ttl, func() { b.endSession(id) })
	}
}

// snapshots are those that were taken over HTTP; a client gets a name instead of the data.
type snapshots struct {
	mu    sync.Mutex
	named map[string]*Snapshot
}

func (b *backend) snapshotSave(c *call) (*Answer, error) {
	if c.rights != AllRights {
		return nil, refuse(http.StatusForbidden, "Permission denied")
	}
	name, snap := "consultest snapshot "+newUUID(), b.snapshot()
	b.saved.mu.Lock()
	defer b.saved.mu.Unlock()
	if b.saved.named == nil {
		b.saved.named = map[string]*Snapshot{}
	}
	b.saved.named[name] = snap
	a := plain(http.StatusOK, name)
	a.Header.Set("Content-Type", "application/x-gzip")
	a.SetIndex(snap.st.index)
	a.Header.Set("X-Consul-Knownleader", "true")
	a.Header.Set("X-Consul-Lastcontact", "0")
	return a, nil
}

func (b *backend) snapshotRestore(c *call) (*Answer, error) {
	b.saved.mu.Lock()
	snap := b.saved.named[string(c.body)]
	b.saved.mu.Unlock()
	if snap == nil {
		return nil, saying("failed to restore from snapshot: consultest: no snapshot of this double")
	}
	b.restore(snap)
	return done(), nil
}
