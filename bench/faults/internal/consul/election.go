package consul

import (
	"fmt"
	"net/http"
	"net/netip"
	"time"
)

// Service is what the masters are registered as.
const Service = "sync"

// workers is the node that all of them are on. No agent runs there, so that
// nothing but what is written here comes and goes.
const workers = "workers"

// Candidate is who may be elected for a label that follows tags.
type Candidate struct {
	ID, Label string
	Address   netip.AddrPort
}

// Announce gives candidates their tags, in one write; it makes them known as well.
func (c *Cluster) Announce(tags map[Candidate][]string) error {
	if err := c.write("/v1/catalog/register", map[string]any{"Node": workers, "Address": "127.0.0.1"}, nil); err != nil {
		return fmt.Errorf("register the node of the masters: %w", err)
	}
	var writes []any
	for candidate, some := range tags {
		writes = append(writes, map[string]any{"Service": map[string]any{"Verb": "set", "Node": workers, "Service": map[string]any{
			"ID": candidate.ID, "Service": Service, "Tags": append(some, "label="+candidate.Label),
			"Address": candidate.Address.Addr().String(), "Port": candidate.Address.Port(),
		}}})
	}
	if err := c.write("/v1/txn", writes, nil); err != nil {
		return fmt.Errorf("announce %v: %w", tags, err)
	}
	return nil
}

// How a leader's lock passes on.
const (
	Release = "release" // the one who holds it gives it up, then the next takes it
	Destroy = "destroy" // its session ends, then the next takes it
	AtOnce  = "at once" // in one transaction: nobody can see it free
)

// Unlock takes the lock of a key away from who holds it.
func (c *Cluster) Unlock(key, way string) error {
	session := c.hold(key, "")
	if session == "" {
		return nil
	}
	var err error
	if way == Release {
		err = c.write("/v1/kv/"+key+"?release="+session, []byte("-"), nil)
	}
	if err == nil {
		err = c.write("/v1/session/destroy/"+session, nil, nil)
	}
	if err != nil {
		return fmt.Errorf("take the lock of %s away: %w", key, err)
	}
	return nil
}

// Lock gives the lock of a key, which is free, to an address.
func (c *Cluster) Lock(key string, to netip.AddrPort) error {
	session, err := c.open()
	if err != nil {
		return err
	}
	var held bool
	if err := c.write("/v1/kv/"+key+"?acquire="+session, []byte(to.String()), &held); err != nil || !held {
		return fmt.Errorf("lock %s for %v: held %t, %w", key, to, held, err)
	}
	c.hold(key, session)
	return nil
}

// hold notes which session holds a key, and returns which did before.
func (c *Cluster) hold(key, session string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.sessions[key]
	c.sessions[key] = session
	return before
}

// PassOn gives the lock of a key to an address in one transaction.
func (c *Cluster) PassOn(key string, to netip.AddrPort) error {
	session, err := c.open()
	if err != nil {
		return err
	}
	before := c.hold(key, session)
	kv := func(verb, session string) any {
		return map[string]any{"KV": map[string]any{"Verb": verb, "Key": key, "Value": []byte(to.String()), "Session": session}}
	}
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		err := c.call(http.MethodPut, "/v1/txn", []any{kv("unlock", before), kv("lock", session)}, nil)
		if err == nil || c.holds(key, session) { // the answer may have been lost
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("pass the lock of %s on: %w", key, err)
		}
	}
	return c.write("/v1/session/destroy/"+before, nil, nil)
}

// Keys are those below a prefix, by a consistent read.
func (c *Cluster) Keys(prefix string) ([]string, error) {
	var keys []string
	err := c.call(http.MethodGet, "/v1/kv/"+prefix+"?keys&consistent", nil, &keys)
	return keys, err
}

// holds reports whether a session is known to hold a key.
func (c *Cluster) holds(key, session string) bool {
	var found []struct{ Session string }
	err := c.call(http.MethodGet, "/v1/kv/"+key+"?consistent", nil, &found)
	return err == nil && len(found) == 1 && found[0].Session == session
}

// open opens a session. What it held may be locked by another as soon as it has ended.
func (c *Cluster) open() (string, error) {
	var answer struct{ ID string }
	body := map[string]any{"Node": workers, "NodeChecks": []string{}, "LockDelay": "0s", "Behavior": "release"}
	if err := c.write("/v1/session/create", body, &answer); err != nil {
		return "", fmt.Errorf("open a session: %w", err)
	}
	return answer.ID, nil
}

// Secret is a token of an instance.
type Secret struct{ SecretID, AccessorID string }

// NewToken makes a token with the rules given.
func (c *Cluster) NewToken(rules string) (Secret, error) {
	c.tokens++
	var s Secret
	var policy struct{ ID string }
	name := fmt.Sprintf("instance-%d", c.tokens)
	err := c.write("/v1/acl/policy", map[string]any{"Name": name, "Rules": rules}, &policy)
	if err == nil {
		err = c.write("/v1/acl/token", map[string]any{"Policies": []any{map[string]any{"ID": policy.ID}}}, &s)
	}
	if err != nil {
		return s, fmt.Errorf("make a token: %w", err)
	}
	return s, nil
}

// Revoke deletes a token.
func (c *Cluster) Revoke(s Secret) error {
	if err := c.call(http.MethodDelete, "/v1/acl/token/"+s.AccessorID, nil, nil); err != nil {
		return fmt.Errorf("revoke a token: %w", err)
	}
	return nil
}
