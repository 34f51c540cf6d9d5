package patroni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rosproxy/rosproxy/cmd/internal/reaper"
)

// Node is one member of a cluster: a PostgreSQL, and the Patroni that looks
// after it. Over its lives its addresses stay the same.
type Node struct {
	Name    string
	Address string // HOST:PORT of PostgreSQL
	API     string // HOST:PORT of Patroni

	cluster *Cluster
	lives   []*reaper.Process // of Patroni: a PostgreSQL may have been left by any of them
}

func (n *Node) String() string {
	if n == nil {
		return "nobody"
	}
	return n.Name
}

// Port is that of PostgreSQL, by which a server knows itself.
func (n *Node) Port() int {
	_, port, _ := strings.Cut(n.Address, ":")
	p, _ := strconv.Atoi(port) // prepare has made it
	return p
}

func (n *Node) path(name string) string { return filepath.Join(n.cluster.dir, n.Name, name) }

func (n *Node) config() string { return n.path("patroni.yml") }

// Log is the path of what Patroni and PostgreSQL have said.
func (n *Node) Log() string { return n.path("log") }

// Said is the end of what each node has said.
func (c *Cluster) Said() string {
	const most = 32 << 10
	var said strings.Builder
	for _, n := range c.Nodes {
		text, err := os.ReadFile(n.Log())
		if err != nil {
			text = []byte(err.Error())
		}
		fmt.Fprintf(&said, "end of the log of %s:\n%s\n", n.Name, text[max(0, len(text)-most):])
	}
	return said.String()
}

// prepare writes the node's configuration, which is JSON, and so YAML.
func (n *Node) prepare() error {
	if err := os.Mkdir(n.path(""), 0o700); err != nil {
		return err
	}
	if err := n.cluster.own(n.path("")); err != nil {
		return err
	}
	text, err := json.MarshalIndent(n.settings(), "", "  ")
	if err != nil {
		return fmt.Errorf("write the configuration of %s: %w", n.Name, err)
	}
	if err := os.WriteFile(n.config(), text, 0o600); err != nil {
		return err
	}
	return n.cluster.own(n.config())
}

type settings map[string]any

// settings are Patroni's configuration.
func (n *Node) settings() settings {
	c := n.cluster
	s := settings{
		"scope": Scope, "namespace": "/service/", "name": n.Name,
		"restapi": settings{"listen": n.API, "connect_address": n.API},
		"consul":  settings{"host": c.consul, "register_service": true, "service_check_interval": "2s"},
		"bootstrap": settings{
			"dcs": settings{
				"ttl": TTL.Seconds(), "loop_wait": LoopWait.Seconds(), "retry_timeout": 5, "maximum_lag_on_failover": 1 << 20,
				"postgresql": settings{"use_pg_rewind": true, "use_slots": true},
			},
			"initdb": []any{"no-sync", settings{"encoding": "UTF8"}, settings{"locale": "C"}},
		},
		"postgresql": settings{
			"listen": n.Address, "connect_address": n.Address, "bin_dir": c.bin,
			"data_dir": n.path("data"), "pgpass": n.path("pgpass"),
			"authentication": settings{
				"superuser": settings{"username": "postgres"}, "replication": settings{"username": "replicator"}, "rewind": settings{"username": "postgres"},
			},
			"pg_hba":     []string{"local all all trust", "host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"},
			"basebackup": []any{"no-sync", settings{"checkpoint": "fast"}},
			"parameters": settings{
				"fsync": "off", "wal_log_hints": "on", "shared_buffers": "16MB", "max_wal_size": "256MB",
				"unix_socket_directories": n.path(""), "log_line_prefix": "%m [%p] %q%u@%h ",
			},
		},
	}
	if c.prePromote != "" {
		s["postgresql"].(settings)["pre_promote"] = c.prePromote
	}
	return s
}

// Start starts Patroni, which starts PostgreSQL, or finds it running.
func (n *Node) Start() error {
	log, err := os.OpenFile(n.Log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("start %s: %w", n.Name, err)
	}
	defer log.Close()
	p, err := reaper.Start(reaper.Command{
		Args: []string{patroniProgram, n.config()}, Env: n.cluster.environment(), Dir: n.path(""), As: n.cluster.as, Log: log,
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", n.Name, err)
	}
	n.lives = append(n.lives, p)
	return nil
}

// environment is what the programs get of ours: nothing that would configure them.
func (c *Cluster) environment() []string {
	return []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + c.dir, "LANG=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1"}
}

// KillPatroni kills Patroni and leaves its PostgreSQL running.
func (n *Node) KillPatroni() error {
	return n.lives[len(n.lives)-1].Kill()
}

// Freeze halts all processes of the node: connections stay open, and nobody answers.
func (n *Node) Freeze() error { return n.each((*reaper.Process).Freeze) }

// Thaw lets a frozen node go on.
func (n *Node) Thaw() error { return n.each((*reaper.Process).Thaw) }

func (n *Node) each(do func(*reaper.Process) error) error {
	var errs []error
	for _, p := range n.lives {
		errs = append(errs, do(p))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	return nil
}

func (n *Node) close() {
	for _, p := range n.lives {
		p.Close()
	}
	n.lives = nil
}

// AwaitStandby waits until the node streams from the leader and may be promoted.
func (n *Node) AwaitStandby(ctx context.Context) error {
	return await(ctx, n.Name+" to be a standby", func() error {
		leader, err := n.cluster.Leader(ctx)
		if err != nil {
			return err
		}
		if leader == nil || leader == n {
			return fmt.Errorf("leader is %v", leader)
		}
		if err := n.answers(ctx, "/replica?lag=1MB"); err != nil {
			return err
		}
		if err := leader.feeds(ctx, n); err != nil {
			return err
		}
		return n.receives(ctx, leader)
	})
}
