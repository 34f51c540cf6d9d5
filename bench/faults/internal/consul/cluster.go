package consul

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/rosproxy/rosproxy/bench/faults/internal/lan"
)

// Cluster is the servers, and the client agents beside the instances.
type Cluster struct {
	Servers []*Agent
	Clients []*Agent

	binary, dir, on string
	web             *http.Client
	tokens          int

	mu       sync.Mutex
	sessions map[string]string // by key: of who holds it
}

// Hosts are where a cluster runs.
type Hosts struct {
	Switch  string
	Control *lan.Host // who writes
	Servers []*lan.Host
}

// Start starts the servers and waits until they have a leader.
func Start(binary, dir string, hosts Hosts) (*Cluster, error) {
	c := &Cluster{binary: binary, dir: dir, on: hosts.Switch, web: hosts.Control.Web(3 * time.Second), sessions: map[string]string{}}
	for i, h := range hosts.Servers {
		ip := h.IP(hosts.Switch).String()
		config := map[string]any{"server": true, "bootstrap_expect": len(hosts.Servers), "retry_join": addresses(hosts)}
		a, err := newAgent(binary, dir, h.Name, i, h, hosts.Switch, ip, config)
		if err != nil {
			return nil, err
		}
		c.Servers = append(c.Servers, a)
		if err := a.Start(); err != nil {
			return nil, err
		}
	}
	return c, c.AwaitLeader(90 * time.Second)
}

func addresses(hosts Hosts) []string {
	var all []string
	for _, h := range hosts.Servers {
		all = append(all, h.IP(hosts.Switch).String())
	}
	return all
}

// AddClient starts a client agent on a host. Only that host can ask it.
func (c *Cluster) AddClient(h *lan.Host) (*Agent, error) {
	var join []string
	for _, s := range c.Servers {
		ip, _, _ := strings.Cut(s.Addr, ":")
		join = append(join, ip)
	}
	a, err := newAgent(c.binary, c.dir, "agent-"+h.Name, 100+len(c.Clients), h, c.on, "127.0.0.1", map[string]any{"retry_join": join})
	if err != nil {
		return nil, err
	}
	c.Clients = append(c.Clients, a)
	return a, a.Start()
}

// AwaitLeader waits until a server answers a consistent read.
func (c *Cluster) AwaitLeader(patience time.Duration) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		err := c.call(http.MethodGet, "/v1/catalog/nodes?consistent", nil, nil)
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("wait for a leader of consul: %w; %s says: %s", err, c.Servers[0].Name, c.Servers[0].Tail())
		}
	}
}

// AwaitWhole waits until every server is up and follows one leader.
func (c *Cluster) AwaitWhole(patience time.Duration) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		err := c.whole()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("wait for all servers of consul: %w", err)
		}
	}
}

func (c *Cluster) whole() error {
	var leaders []string
	for _, s := range c.Servers {
		var self struct{ Stats map[string]map[string]any }
		if err := c.ask(s, http.MethodGet, "/v1/agent/self", nil, &self); err != nil {
			return err
		}
		if peers := self.Stats["raft"]["num_peers"]; peers != fmt.Sprint(len(c.Servers)-1) {
			return fmt.Errorf("%s has %v peers", s.Name, peers)
		}
		if err := c.ask(s, http.MethodGet, "/v1/catalog/nodes", nil, nil); err != nil { // by way of the leader that it knows
			return err
		}
		if self.Stats["raft"]["state"] == "Leader" {
			leaders = append(leaders, s.Name)
			continue
		}
		last, err := time.ParseDuration(fmt.Sprint(self.Stats["raft"]["last_contact"]))
		if err != nil || last > time.Second {
			return fmt.Errorf("%s has not heard from the leader for %v", s.Name, self.Stats["raft"]["last_contact"])
		}
	}
	if len(leaders) != 1 {
		return fmt.Errorf("%q are leaders", leaders)
	}
	return nil
}

// Leader is the server that calls itself the leader.
func (c *Cluster) Leader() (*Agent, error) {
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		for _, s := range c.Servers {
			// Each is asked what it is itself: one that has just lost its leader still names it.
			var self struct{ Stats map[string]map[string]any }
			if s.answers() && c.ask(s, http.MethodGet, "/v1/agent/self", nil, &self) == nil && self.Stats["raft"]["state"] == "Leader" {
				return s, nil
			}
		}
	}
	return nil, errors.New("no server of consul is the leader")
}

// call makes one call to the first server that answers it well.
func (c *Cluster) call(method, path string, in, out any) error {
	var errs []error
	for _, s := range c.Servers {
		if !s.answers() {
			continue
		}
		err := c.ask(s, method, path, in, out)
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", s.Name, err))
	}
	if len(errs) == 0 {
		return errors.New("no server of consul runs")
	}
	return errors.Join(errs...)
}

// write makes a call until it succeeds: elections wait for Consul. It must be
// one that may be made twice.
func (c *Cluster) write(path string, in, out any) error {
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		err := c.call(http.MethodPut, path, in, out)
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// ask makes one call of the HTTP API. In is JSON, or raw bytes.
func (c *Cluster) ask(a *Agent, method, path string, in, out any) error {
	var body io.Reader = http.NoBody
	if raw, ok := in.([]byte); ok {
		body = bytes.NewReader(raw)
	} else if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	r, err := http.NewRequest(method, "http://"+a.Addr+path, body)
	if err != nil {
		return err
	}
	r.Header.Set("X-Consul-Token", Token)
	answer, err := c.web.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 8<<20))
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, bytes.TrimSpace(text))
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}
