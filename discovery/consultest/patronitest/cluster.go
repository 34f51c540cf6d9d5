package patronitest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

// version is the release of Patroni whose behaviour the double follows.
const version = "3.0.2"

// electTimeout bounds how long a lock delay may keep a free lock from its next
// holder; the delay of Patroni's sessions is 1 ms.
const electTimeout = 5 * time.Second

// Cluster is a Patroni cluster. It is safe for concurrent use.
type Cluster struct {
	client *api.Client
	scope  string

	mu       sync.Mutex
	members  map[string]*Member
	timeline int
	wal      int64
	paused   bool
}

// New makes a cluster without members, whose keys are below service/SCOPE/.
// Close must be called.
func New(client *api.Client, scope string) *Cluster {
	return &Cluster{client: client, scope: scope, members: map[string]*Member{}, timeline: 1, wal: 3 << 24}
}

// LeaderKey is the key that the leader holds.
func (c *Cluster) LeaderKey() string { return c.path("leader") }

func (c *Cluster) path(name string) string { return "service/" + c.scope + "/" + name }

// Add starts a member as a replica: its REST API on a loopback address, its
// session, and its entry in members/NAME. connURL is its conn_url, as it stands.
func (c *Cluster) Add(name, connURL string) (*Member, error) { return c.add(name, connURL, false) }

// AddTLS starts a member whose REST API speaks TLS, with a certificate that
// nobody trusts: see [Member.Certificate].
func (c *Cluster) AddTLS(name, connURL string) (*Member, error) { return c.add(name, connURL, true) }

func (c *Cluster) add(name, connURL string, tls bool) (*Member, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.members[name] != nil {
		return nil, fmt.Errorf("add member %s: it is there", name)
	}
	m, err := newMember(c, name, connURL, tls)
	if err != nil {
		return nil, fmt.Errorf("add member %s: %w", name, err)
	}
	c.members[name] = m
	return m, c.touch(m)
}

// Elect makes a member the leader: it takes the lock, and holds it until
// LoseLock or Expire. It is not promoted yet. An error when another holds the lock.
func (c *Cluster) Elect(name string) error {
	return c.with(name, func(m *Member) error {
		if err := c.acquire(m); err != nil {
			return err
		}
		m.setRole(m.role(), true)
		return nil
	})
}

func (c *Cluster) acquire(m *Member) error {
	for deadline := time.Now().Add(electTimeout); ; time.Sleep(time.Millisecond) {
		ok, _, err := c.client.KV().Acquire(&api.KVPair{Key: c.LeaderKey(), Value: []byte(m.Name), Session: m.session}, nil)
		if err != nil || ok {
			return err
		}
		k, _, err := c.client.KV().Get(c.LeaderKey(), &api.QueryOptions{RequireConsistent: true})
		switch {
		case err != nil:
			return err
		case k != nil && k.Session != "":
			return fmt.Errorf("%s holds the lock", k.Value)
		case time.Now().After(deadline):
			return errors.New("the lock is free and cannot be taken")
		}
	}
}

// Promote makes a member say that it is primary, on a new timeline: in its
// REST API at once, then in members/NAME. Whether it is the leader is not asked.
func (c *Cluster) Promote(name string) error {
	return c.with(name, func(m *Member) error {
		c.timeline++
		m.setRole(primary, m.leads())
		return c.touch(m)
	})
}

// LoseLock ends the session of the leader, so that the key goes; see [Cluster.Expire].
func (c *Cluster) LoseLock() error {
	k, _, err := c.client.KV().Get(c.LeaderKey(), &api.QueryOptions{RequireConsistent: true})
	if err != nil {
		return err
	}
	if k == nil {
		return errors.New("lose the lock: nobody holds it")
	}
	return c.Expire(string(k.Value))
}

// Expire ends the session of a member as the end of its TTL does: its entry in
// members goes, and the leader's key if it held it. A member whose REST API is
// up steps down, and is back in members under a new session; one that was
// stopped is gone until Start.
func (c *Cluster) Expire(name string) error {
	return c.with(name, func(m *Member) error {
		if _, err := c.client.Session().Destroy(m.session, nil); err != nil {
			return err
		}
		m.session = ""
		m.setRole(replica, false)
		if m.stopped {
			return nil
		}
		return c.touch(m)
	})
}

// SetConnURL changes a member's conn_url.
func (c *Cluster) SetConnURL(name, connURL string) error {
	return c.with(name, func(m *Member) error {
		m.connURL = connURL
		return c.touch(m)
	})
}

// SetAPIURL changes what a member's entry says of its REST API, which stays where it is.
func (c *Cluster) SetAPIURL(name, apiURL string) error {
	return c.with(name, func(m *Member) error {
		m.apiURL = apiURL
		return c.touch(m)
	})
}

// Pause is `patronictl pause`, or resume: the configuration and all members
// say so, and the leader keeps its lock.
func (c *Cluster) Pause(on bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paused = on
	if _, err := c.client.KV().Put(&api.KVPair{Key: c.path("config"), Value: fmt.Appendf(nil, `{"pause":%t,"ttl":20}`, on)}, nil); err != nil {
		return fmt.Errorf("pause %t: %w", on, err)
	}
	return c.touchAll()
}

// Turn is one turn of each member's loop: all write their entries anew with
// another WAL position, and the leader's status beside its key changes.
func (c *Cluster) Turn() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wal += 56
	if _, err := c.client.KV().Put(&api.KVPair{Key: c.path("status"), Value: fmt.Appendf(nil, `{"optime":%d}`, c.wal)}, nil); err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	return c.touchAll()
}

// Close ends the cluster: no member runs any more, and their sessions, with
// the keys that they held, are gone where Consul can still be reached.
func (c *Cluster) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all error
	for _, m := range c.members {
		m.close()
		if m.session == "" {
			continue
		}
		if _, err := c.client.Session().Destroy(m.session, nil); err != nil {
			all = errors.Join(all, fmt.Errorf("end the session of %s: %w", m.Name, err))
		}
	}
	clear(c.members)
	return all
}

func (c *Cluster) with(name string, do func(*Member) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.members[name]
	if m == nil {
		return fmt.Errorf("no member %s", name)
	}
	if err := do(m); err != nil {
		return fmt.Errorf("member %s: %w", name, err)
	}
	return nil
}

func (c *Cluster) touchAll() error {
	for _, name := range slices.Sorted(maps.Keys(c.members)) {
		if m := c.members[name]; !m.stopped {
			if err := c.touch(m); err != nil {
				return fmt.Errorf("member %s: %w", name, err)
			}
		}
	}
	return nil
}

// entry is what members/NAME says, in the order that Patroni writes it.
type entry struct {
	ConnURL  string `json:"conn_url"`
	APIURL   string `json:"api_url"`
	State    string `json:"state"`
	Role     string `json:"role"`
	Version  string `json:"version"`
	WAL      int64  `json:"xlog_location"`
	Timeline int    `json:"timeline"`
	Pause    bool   `json:"pause,omitempty"`
}

// touch writes the entry of a member, which its session holds.
func (c *Cluster) touch(m *Member) error {
	if m.session == "" {
		id, _, err := c.client.Session().CreateNoChecks(&api.SessionEntry{
			Name: c.scope + "-" + m.Name, Behavior: api.SessionBehaviorDelete, LockDelay: time.Millisecond,
		}, nil)
		if err != nil {
			return fmt.Errorf("begin a session: %w", err)
		}
		m.session = id
	}
	text, err := json.Marshal(entry{m.connURL, m.apiURL, "running", m.role(), version, c.wal, c.timeline, c.paused})
	if err != nil {
		return err
	}
	key := c.path("members/" + m.Name)
	for deadline := time.Now().Add(electTimeout); ; time.Sleep(time.Millisecond) {
		ok, _, err := c.client.KV().Acquire(&api.KVPair{Key: key, Value: text, Session: m.session}, nil)
		if err != nil || ok {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("write %s: another session holds it", key)
		}
	}
}
