package consultest

import "fmt"

// Behavior is what becomes of a session's locks when it ends.
type Behavior string

// The behaviors that Consul has.
const (
	ReleaseKeys Behavior = behaviorRelease // the keys stay, with their values, and nobody holds them
	DeleteKeys  Behavior = behaviorDelete  // the keys go
)

// NewSession begins a session on the agent's own node without a TTL, a check
// or a lock delay, and returns its id.
func (s *Server) NewSession(b Behavior) string {
	var id string
	s.Txn(func(t *Tx) { id = t.NewSession(b) })
	return id
}

// NewSession begins a session as [Server.NewSession] does.
func (t *Tx) NewSession(b Behavior) string {
	id := newUUID()
	t.check(t.st.addSession(sessionRow{ID: id, Node: t.own, Behavior: string(b), NodeChecks: []string{}}, t.idx))
	return id
}

// SetKey writes a key as a plain PUT does: who holds its lock still does.
func (t *Tx) SetKey(key, value string) { t.st.setKey(keyRow{Key: key, Value: []byte(value)}, t.idx) }

// DropKey deletes a key, held or not. One that is not there is no mistake.
func (t *Tx) DropKey(key string) { t.st.deleteKey(key, t.idx) }

// Lock makes the session the holder of a key and writes it. Lock delays do not
// count. It panics when another holds the key, or there is no such session.
func (t *Tx) Lock(key, value, session string) {
	ok, err := t.st.lockKey(keyRow{Key: key, Value: []byte(value), Session: session}, t.idx)
	if err == nil && !ok {
		err = fmt.Errorf("lock %s: another session holds it", key)
	}
	t.check(err)
}

// Unlock gives up the lock of a key and keeps its value, as its holder does in
// good order. It panics when nobody holds the key.
func (t *Tx) Unlock(key string) {
	k := t.st.keys[key]
	if k.Session == "" {
		t.check(fmt.Errorf("unlock %s: nobody holds it", key))
	}
	_, err := t.st.unlockKey(k, t.idx)
	t.check(err)
}

// ExpireSession ends a session as the end of its TTL does: what it holds is
// released or deleted, and its lock delay begins. One that has ended is no mistake.
func (t *Tx) ExpireSession(id string) { t.st.endSession(id, t.idx) }

// SetKey writes a key as a plain PUT does, and returns the index of the change.
func (s *Server) SetKey(key, value string) uint64 {
	return s.Txn(func(t *Tx) { t.SetKey(key, value) })
}

// DropKey deletes a key, held or not, and returns the index of the change.
func (s *Server) DropKey(key string) uint64 { return s.Txn(func(t *Tx) { t.DropKey(key) }) }

// Lock makes the session the holder of a key, as [Tx.Lock] does, and returns the index of the change.
func (s *Server) Lock(key, value, session string) uint64 {
	return s.Txn(func(t *Tx) { t.Lock(key, value, session) })
}

// Unlock gives up the lock of a key, as [Tx.Unlock] does, and returns the index of the change.
func (s *Server) Unlock(key string) uint64 { return s.Txn(func(t *Tx) { t.Unlock(key) }) }

// ExpireSession ends a session, as [Tx.ExpireSession] does, and returns the index of the change.
func (s *Server) ExpireSession(id string) uint64 {
	s.backend.ttls.drop(id)
	return s.Txn(func(t *Tx) { t.ExpireSession(id) })
}

// Holder is the session that holds a key; empty: none, or the key is not there.
func (s *Server) Holder(key string) string {
	var id string
	s.backend.store.view(func(st *state) { id = st.keys[key].Session })
	return id
}
