package consultest

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

// sessionBody is a session as clients write it.
type sessionBody struct {
	Name          string
	Node          string
	LockDelay     lockDelay
	Behavior      string
	TTL           string
	Checks        []string // the old name of NodeChecks
	NodeChecks    []string
	ServiceChecks []serviceCheck
}

// lockDelay is written "15s", or as a number: of seconds when below 1000, else of nanoseconds.
type lockDelay time.Duration

func (d *lockDelay) UnmarshalJSON(b []byte) error {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	switch v := v.(type) {
	case string:
		p, err := time.ParseDuration(v)
		if err != nil {
			return err
		}
		*d = lockDelay(p)
	case float64:
		*d = lockDelay(v)
	}
	if *d < 1000 {
		*d *= lockDelay(time.Second)
	}
	return nil
}

func (b *backend) sessionCreate(c *call) (*Answer, error) {
	body := sessionBody{
		Node: b.node, LockDelay: lockDelay(defaultLockDelay), Behavior: behaviorRelease,
		Checks: []string{serfHealth}, NodeChecks: []string{serfHealth},
	}
	if len(c.body) > 0 {
		if err := c.decode(&body, false); err != nil {
			return nil, err
		}
	}
	row, ttl, err := body.row(b.sessionTTLMin)
	if err != nil {
		return nil, err
	}
	err = b.store.update(func(st *state, idx uint64) error { return st.addSession(row, idx) })
	if err != nil {
		return nil, fmt.Errorf("apply failed: %w", err)
	}
	b.ttls.set(row.ID, ttl, func() { b.endSession(row.ID) })
	return jsonAnswer(map[string]string{"ID": row.ID}), nil
}

// row checks a session and gives it an id.
func (s sessionBody) row(ttlMin time.Duration) (sessionRow, time.Duration, error) {
	if s.Behavior == "" {
		s.Behavior = behaviorRelease
	}
	if s.Behavior != behaviorRelease && s.Behavior != behaviorDelete {
		return sessionRow{}, 0, saying("Invalid Behavior setting '%s'", s.Behavior)
	}
	if s.Node == "" {
		return sessionRow{}, 0, saying("Must provide Node")
	}
	ttl, err := parseTTL(s.TTL)
	if err != nil {
		return sessionRow{}, 0, err
	}
	if ttl != 0 && (ttl < ttlMin || ttl > maxSessionTTL) {
		return sessionRow{}, 0, saying("Invalid Session TTL '%d', must be between [%v=%v]", ttl, ttlMin, maxSessionTTL)
	}
	return sessionRow{
		ID: newUUID(), Name: s.Name, Node: s.Node, LockDelay: time.Duration(s.LockDelay), Behavior: s.Behavior,
		TTL: s.TTL, NodeChecks: s.nodeChecks(), ServiceChecks: s.ServiceChecks,
	}, ttl, nil
}

// nodeChecks merges the old and the new name of the field the way Consul does:
// both have serfHealth in them before the body is read.
func (s sessionBody) nodeChecks() []string {
	old, checks := s.Checks, s.NodeChecks
	switch {
	case len(old) == 0:
		return []string{}
	case len(old) == 1 && old[0] == serfHealth, len(checks) == 0:
		old = nil
	}
	merged := append([]string{}, checks...)
	for _, id := range old {
		if !slices.Contains(merged, id) {
			merged = append(merged, id)
		}
	}
	return merged
}

func parseTTL(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	ttl, err := time.ParseDuration(s)
	if err != nil {
		return 0, saying("Session TTL '%s' invalid: %v", s, err)
	}
	return ttl, nil
}

func (b *backend) endSession(id string) {
	b.ttls.drop(id)
	b.store.update(func(st *state, idx uint64) error { // never fails
		st.endSession(id, idx)
		return nil
	})
}

func (b *backend) sessionRenew(c *call) (*Answer, error) {
	var row sessionRow
	b.store.view(func(st *state) { row = st.sessions[c.rest] })
	if row.ID == "" {
		return nil, refuse(http.StatusNotFound, "Session id '%s' not found", c.rest)
	}
	b.ttls.renew(row.ID)
	return jsonAnswer([]sessionRow{row}), nil
}

func (b *backend) sessionDestroy(c *call) (*Answer, error) {
	b.endSession(c.rest)
	return jsonAnswer(true), nil
}

func (b *backend) sessionInfo(c *call) (*Answer, error) {
	return b.query(c, func(st *state) reading {
		found := []sessionRow{}
		if s, ok := st.sessions[c.rest]; ok && c.rights == AllRights {
			found = append(found, s)
		}
		return reading{value: found, index: st.sessionsIndex, version: st.sessionsIndex}
	})
}

func (b *backend) sessionNode(c *call) (*Answer, error) { return b.sessions(c, c.rest) }

func (b *backend) sessionList(c *call) (*Answer, error) { return b.sessions(c, "") }

func (b *backend) sessions(c *call, node string) (*Answer, error) {
	return b.query(c, func(st *state) reading {
		found := []sessionRow{}
		if c.rights == AllRights {
			found = st.listSessions(node)
		}
		return reading{value: found, index: st.sessionsIndex, version: st.sessionsIndex}
	})
}

// ttls end what is not renewed in time.
type ttls struct {
	mu     sync.Mutex
	timers map[string]*ttl
	closed bool
}

type ttl struct {
	timer *time.Timer
	after time.Duration
}

// set begins the time of id; Consul grants twice what was asked for. 0 is for ever.
func (t *ttls) set(id string, d time.Duration, end func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if d == 0 || t.closed {
		return
	}
	if t.timers == nil {
		t.timers = map[string]*ttl{}
	}
	t.timers[id] = &ttl{time.AfterFunc(2*d, end), 2 * d}
}

func (t *ttls) renew(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.timers[id]; e != nil {
		e.timer.Reset(e.after)
	}
}

func (t *ttls) drop(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.timers[id]; e != nil {
		e.timer.Stop()
		delete(t.timers, id)
	}
}

// stop drops all; once stopped for good, none is set any more.
func (t *ttls) stop(forGood bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.timers {
		e.timer.Stop()
	}
	t.timers = nil
	t.closed = forGood
}

func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
