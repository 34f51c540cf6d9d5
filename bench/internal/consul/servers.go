package consul

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rosproxy/rosproxy/bench/internal/proc"
)

// Servers are Consul servers that can be killed and frozen, without a client agent.
type Servers struct {
	binary string
	all    []*server
	client http.Client
}

// server is one of them. It keeps its address and its state when it is started anew.
type server struct {
	*node
	args    []string
	process *proc.Process
}

// StartServers starts n servers with their files in dir and waits until they can
// be worked with. multiplier is Consul's performance.raft_multiplier: 5 by default,
// 1 as its manual advises for production.
func StartServers(ctx context.Context, binary, dir string, n, multiplier int) (*Servers, error) {
	c := &Servers{binary: binary, client: http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 1000}}}
	for i := range n {
		at, err := newNode(dir, fmt.Sprintf("server-%d", i), map[string]any{
			"server": true, "bootstrap_expect": n,
			"limits": map[string]any{"http_max_conns_per_client": 10000}, // all clients are this host
		}, multiplier)
		if err != nil {
			return nil, err
		}
		c.all = append(c.all, &server{node: at, args: []string{"-data-dir", filepath.Join(dir, at.name)}})
	}
	for _, s := range c.all {
		for _, other := range c.all {
			if other != s { // one that has joined itself looks for nobody else
				s.args = append(s.args, "-retry-join", fmt.Sprintf("127.0.0.1:%d", other.serf), "-retry-interval", "1s")
			}
		}
		if err := s.start(binary); err != nil {
			c.Stop()
			return nil, err
		}
	}
	if err := c.AwaitWell(ctx); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

func (s *server) start(binary string) (err error) {
	if s.process, err = startAgent(binary, s.node, s.args...); err != nil {
		return err
	}
	_, err = s.process.Tree() // whose CPU time is read
	return err
}

func (s *server) url(path string) string { return fmt.Sprintf("http://127.0.0.1:%d%s", s.http, path) }

// Stop kills all of them.
func (c *Servers) Stop() {
	for _, s := range c.all {
		if s.process != nil {
			s.process.Stop()
		}
	}
	c.client.CloseIdleConnections()
}

// AwaitWell waits until every server makes a write, and any of them could be lost:
// one that was started anew is given its vote by autopilot only when it has
// been well for 10 s.
func (c *Servers) AwaitWell(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*testTimeout)
	defer cancel()
	for _, s := range c.all {
		for err := c.isWell(ctx, s); err != nil; err = c.isWell(ctx, s) {
			select {
			case <-ctx.Done():
				return fmt.Errorf("%s is not well: %w; it says: %s", s.name, err, s.process.Output())
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	return nil
}

func (c *Servers) isWell(ctx context.Context, s *server) error {
	if err := c.write(ctx, s); err != nil {
		return err
	}
	var health struct{ FailureTolerance int }
	if err := callAt(ctx, &c.client, http.MethodGet, s.url("/v1/operator/autopilot/health"), nil, &health); err != nil {
		return err
	}
	if health.FailureTolerance < (len(c.all)-1)/2 {
		return errors.New("none of the servers may be lost")
	}
	return nil
}

func (c *Servers) write(ctx context.Context, s *server) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return callAt(ctx, &c.client, http.MethodPut, s.url("/v1/kv/bench/"+s.name), []byte(strconv.Itoa(rand.Int())), nil)
}

// Leader is the number of the leader.
func (c *Servers) Leader(ctx context.Context) (int, error) {
	var address string
	for _, s := range c.all {
		if err := callAt(ctx, &c.client, http.MethodGet, s.url("/v1/status/leader"), nil, &address); err != nil || address == "" {
			continue
		}
		at, err := netip.ParseAddrPort(address)
		for i, s := range c.all {
			if err == nil && int(at.Port()) == s.server {
				return i, nil
			}
		}
	}
	return 0, errors.New("ask consul for its leader: none is known")
}

// Commits is how many entries the leader's log has had committed, and CPU the time
// that its process has used.
func (c *Servers) Commits(ctx context.Context, leader int) (commits uint64, cpu time.Duration, err error) {
	var self struct {
		Stats struct{ Raft map[string]string }
	}
	if err := callAt(ctx, &c.client, http.MethodGet, c.all[leader].url("/v1/agent/self"), nil, &self); err != nil {
		return 0, 0, fmt.Errorf("ask %s for its log: %w", c.all[leader].name, err)
	}
	if commits, err = strconv.ParseUint(strings.TrimSpace(self.Stats.Raft["commit_index"]), 10, 64); err != nil {
		return 0, 0, fmt.Errorf("ask %s for its log: %w", c.all[leader].name, err)
	}
	cpu, err = c.all[leader].process.CPU()
	return commits, cpu, err
}

// CPU is what all servers together have used.
func (c *Servers) CPU() (all time.Duration, err error) {
	for _, s := range c.all {
		one, err := s.process.CPU()
		if err != nil {
			return 0, err
		}
		all += one
	}
	return all, nil
}

// Leaderless ends the leader by a fault, kill or freeze, and answers how long it
// took until another server had made a write again. Then all are well again.
func (c *Servers) Leaderless(ctx context.Context, fault string) (time.Duration, error) {
	leader, err := c.Leader(ctx)
	if err != nil {
		return 0, err
	}
	lost := c.all[leader]
	time.Sleep(time.Second + rand.N(2*time.Second)) // anywhere between two heartbeats
	began := time.Now()
	switch fault {
	case "kill":
		lost.process.Stop()
	case "freeze":
		if err := syscall.Kill(lost.process.PID(), syscall.SIGSTOP); err != nil {
			return 0, fmt.Errorf("freeze %s: %w", lost.name, err)
		}
	default:
		return 0, fmt.Errorf("unknown fault %q: kill or freeze", fault)
	}
	took, err := c.awaitWrite(ctx, lost, began)
	if fault == "kill" {
		err = errors.Join(err, lost.start(c.binary))
	} else {
		err = errors.Join(err, syscall.Kill(lost.process.PID(), syscall.SIGCONT))
	}
	return took, errors.Join(err, c.AwaitWell(ctx))
}

// awaitWrite is how long after began the first server but lost had made a write
// that was sent after it.
func (c *Servers) awaitWrite(ctx context.Context, lost *server, began time.Time) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	made := make(chan time.Duration, len(c.all))
	var trying sync.WaitGroup
	defer trying.Wait()
	defer cancel()
	for _, s := range c.all {
		if s == lost {
			continue
		}
		trying.Go(func() {
			for ctx.Err() == nil {
				if c.write(ctx, s) == nil {
					made <- time.Since(began)
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	select {
	case took := <-made:
		return took, nil
	case <-ctx.Done():
		return 0, fmt.Errorf("no write within %v of the leader's end", testTimeout)
	}
}
