// Package patroni runs PostgreSQL under Patroni on the loopback, for tests and
// the demo: Debian's packages, each node with a data directory of its own, and
// a Consul that is there already.
//
// As root the programs run as the user postgres, else as who calls. What a
// cluster has started is gone when it is closed, or when the process that
// started it ends in any way: see package reaper, whose Main must be called.
//
// PostgreSQL runs with fsync off, which saves time and changes nothing that can
// be seen here: what a killed process has written is the kernel's, and is there
// when the next one reads it. Only the machine's own end could lose it.
package patroni

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/cmd/internal/freeport"
)

// Scope is the name of every cluster, and of the service in Consul.
const Scope = "batman"

// LeaderKey is the key in Consul that the leader holds.
const LeaderKey = "service/" + Scope + "/leader"

// The times of every cluster. A leader that is dead loses its key TTL after it
// last renewed it, at most.
const (
	TTL      = 20 * time.Second // the least that Patroni takes
	LoopWait = 2 * time.Second
)

// account is whom the programs run as, if root starts them.
const account = "postgres"

// startTimeout is how long a cluster may take to come up: initdb on a busy machine.
const startTimeout = 2 * time.Minute

// Cluster is a primary and its standbys.
type Cluster struct {
	Nodes []*Node

	dir    string
	as     *syscall.Credential // whom the programs run as; nil: who calls
	consul string
	client *api.Client
	bin    string // directory of PostgreSQL's programs

	prePromote string   // empty: none
	release    []func() // of the nodes' ports, which are theirs while they are down
}

// Option changes the configuration of all nodes.
type Option func(*Cluster)

// PrePromote has Patroni run a command between the taking of the key and the
// promotion, and give the key back when it fails. It runs as who Patroni runs as.
func PrePromote(command string) Option { return func(c *Cluster) { c.prePromote = command } }

// Installed says what of the machine is missing.
func Installed() error {
	_, err := programs()
	for _, file := range []string{patroniProgram, patronictlProgram} {
		_, missing := os.Stat(file)
		err = errors.Join(err, missing)
	}
	if err != nil {
		return fmt.Errorf("find Patroni and PostgreSQL: %w; run make patroni", err)
	}
	return nil
}

// Where Debian has Patroni.
const (
	patroniProgram    = "/usr/bin/patroni"
	patronictlProgram = "/usr/bin/patronictl"
)

// programs finds the directory of the newest PostgreSQL.
func programs() (string, error) {
	servers, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil || len(servers) == 0 {
		return "", errors.New("no /usr/lib/postgresql/*/bin/postgres")
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		return n
	}
	newest := slices.MaxFunc(servers, func(a, b string) int { return version(a) - version(b) })
	return filepath.Dir(newest), nil
}

// Start starts a cluster of so many nodes with the Consul at HOST:PORT, and
// returns when the first of them is primary and all others stream from it. The
// cluster's files, its logs among them, are in a directory below dir, which
// everybody must be able to enter; empty: that for temporary files.
func Start(ctx context.Context, dir, consul string, nodes int, options ...Option) (*Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	c := &Cluster{consul: consul}
	for _, o := range options {
		o(c)
	}
	if err := c.prepare(dir, nodes); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if err := c.bringUp(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%w\n%s", err, c.Said()), c.Close())
	}
	return c, nil
}

// bringUp starts the nodes; the first is to be the leader.
func (c *Cluster) bringUp(ctx context.Context) error {
	for i, n := range c.Nodes {
		if err := n.Start(); err != nil {
			return err
		}
		if i > 0 {
			continue
		}
		if _, err := c.AwaitLeader(ctx, n); err != nil {
			return err
		}
	}
	return c.AwaitHealthy(ctx)
}

// prepare makes the cluster's directory and the nodes' configuration in it.
func (c *Cluster) prepare(dir string, nodes int) (err error) {
	if err := Installed(); err != nil {
		return err
	}
	if c.client, err = api.NewClient(&api.Config{Address: c.consul, Transport: transport()}); err != nil {
		return fmt.Errorf("configure Consul at %s: %w", c.consul, err)
	}
	if c.bin, err = programs(); err != nil {
		return err
	}
	if c.as, err = credential(); err != nil {
		return err
	}
	if c.dir, err = os.MkdirTemp(dir, "patroni"); err != nil {
		return fmt.Errorf("make a directory for the cluster: %w", err)
	}
	if err := c.own(c.dir); err != nil {
		return err
	}
	for i := range nodes {
		n := &Node{Name: "pg" + strconv.Itoa(i+1), cluster: c}
		for _, address := range []*string{&n.Address, &n.API} {
			if *address, err = freeport.Address(); err != nil {
				return err
			}
			release, err := freeport.Hold(*address)
			if err != nil {
				return err
			}
			c.release = append(c.release, release)
		}
		c.Nodes = append(c.Nodes, n)
		if err := n.prepare(); err != nil {
			return err
		}
	}
	return nil
}

// credential is that of account; nil: this process is not root's, and its own will do.
func credential() (*syscall.Credential, error) {
	if os.Geteuid() != 0 { // PostgreSQL refuses to run as root, and as root alone
		return nil, nil
	}
	u, err := user.Lookup(account)
	if err != nil {
		return nil, err
	}
	c := &syscall.Credential{}
	if _, err := fmt.Sscan(u.Uid+" "+u.Gid, &c.Uid, &c.Gid); err != nil {
		return nil, fmt.Errorf("user %s: %w", account, err)
	}
	return c, nil
}

// own gives a file to whom the programs run as.
func (c *Cluster) own(path string) error {
	if c.as == nil {
		return nil
	}
	return os.Chown(path, int(c.as.Uid), int(c.as.Gid))
}

// Close ends all that the cluster has started and removes its files.
func (c *Cluster) Close() error {
	for _, n := range c.Nodes {
		n.close()
	}
	for _, release := range c.release {
		release()
	}
	if c.dir == "" {
		return nil
	}
	return os.RemoveAll(c.dir)
}

// Node is the node with a name; nil: there is none.
func (c *Cluster) Node(name string) *Node {
	for _, n := range c.Nodes {
		if n.Name == name {
			return n
		}
	}
	return nil
}

// Leader is who holds the leader's key; nil: nobody does.
func (c *Cluster) Leader(ctx context.Context) (*Node, error) {
	pair, _, err := c.client.KV().Get(LeaderKey, (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", LeaderKey, err)
	}
	if pair == nil || pair.Session == "" {
		return nil, nil
	}
	return c.Node(string(pair.Value)), nil
}

// Expire has Consul take the key from its holder now, as it does TTL after the
// holder's last word. A holder whose Patroni runs takes it again.
func (c *Cluster) Expire(ctx context.Context) error {
	pair, _, err := c.client.KV().Get(LeaderKey, (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx))
	if err == nil && (pair == nil || pair.Session == "") {
		err = errors.New("nobody holds it")
	}
	if err == nil {
		_, err = c.client.Session().Destroy(pair.Session, (&api.WriteOptions{}).WithContext(ctx))
	}
	if err != nil {
		return fmt.Errorf("expire %s: %w", LeaderKey, err)
	}
	return nil
}

// AwaitLeader waits until one of the nodes holds the leader's key and is
// primary, and returns it.
func (c *Cluster) AwaitLeader(ctx context.Context, of ...*Node) (*Node, error) {
	var leader *Node
	err := await(ctx, fmt.Sprintf("one of %v to lead", of), func() error {
		n, err := c.Leader(ctx)
		if err != nil {
			return err
		}
		if !slices.Contains(of, n) {
			return fmt.Errorf("leader is %v", n)
		}
		leader = n
		return n.answers(ctx, "/primary")
	})
	return leader, err
}

// AwaitHealthy waits until there is a leader, and all other nodes are standbys
// that stream from it and may be promoted.
func (c *Cluster) AwaitHealthy(ctx context.Context) error {
	leader, err := c.AwaitLeader(ctx, c.Nodes...)
	if err != nil {
		return err
	}
	for _, n := range c.Nodes {
		if n == leader {
			continue
		}
		if err := n.AwaitStandby(ctx); err != nil {
			return err
		}
	}
	return nil
}
