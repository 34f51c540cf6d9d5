// Package consul runs the real Consul on hosts of a lan, servers and client
// agents with access control, and elects masters in it.
package consul

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/rosproxy/rosproxy/bench/faults/internal/lan"
)

// Token may do everything.
const Token = "5f1d3b5e-0000-4000-8000-000000000001"

// Port of the HTTP API of each agent.
const Port = 8500

// Agent is one Consul process, a server or not.
type Agent struct {
	Name, Addr string // HOST:PORT of its HTTP API

	host    *lan.Host
	binary  string
	dir     string
	process *lan.Process
	frozen  bool
}

// newAgent writes the configuration of an agent that talks to the others on a switch.
func newAgent(binary, dir, name string, number int, h *lan.Host, on, web string, config map[string]any) (*Agent, error) {
	a := &Agent{Name: name, Addr: fmt.Sprintf("%s:%d", web, Port), host: h, binary: binary, dir: filepath.Join(dir, name)}
	if err := os.MkdirAll(a.dir, 0o755); err != nil {
		return nil, err
	}
	for key, value := range map[string]any{
		"node_name": name, "node_id": fmt.Sprintf("5f1d3b5e-0000-4000-9000-%012d", number), // the same after its data is gone
		"bind_addr": h.IP(on).String(), "client_addr": web, "data_dir": a.data(), "retry_interval": "1s",
		"ports":       map[string]any{"http": Port, "dns": -1, "grpc": -1, "grpc_tls": -1, "serf_wan": -1},
		"autopilot":   map[string]any{"cleanup_dead_servers": false}, // or two that are left count as all
		"performance": map[string]any{"raft_multiplier": 1}, "disable_update_check": true, "leave_on_terminate": false, "log_level": "warn",
		"acl": map[string]any{
			"enabled": true, "default_policy": "deny", "down_policy": "extend-cache",
			"token_ttl": "0s", "policy_ttl": "0s", "role_ttl": "0s", // a revoked token is revoked at once
			"tokens": map[string]any{"initial_management": Token, "agent": Token},
		},
	} {
		config[key] = value
	}
	text, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	return a, os.WriteFile(a.config(), text, 0o600)
}

func (a *Agent) data() string   { return filepath.Join(a.dir, "data") }
func (a *Agent) config() string { return filepath.Join(a.dir, "config.json") }
func (a *Agent) log() string    { return filepath.Join(a.dir, "log") }

// Start starts the agent, unless it runs.
func (a *Agent) Start() (err error) {
	if a.Alive() {
		return nil
	}
	a.process, err = a.host.Start(a.log(), []string{"GOMAXPROCS=2"}, a.binary, "agent", "-config-file", a.config())
	return err
}

// Alive reports whether the process runs, or stands still.
func (a *Agent) Alive() bool { return a.process != nil && a.process.Alive() }

// Kill ends the agent like a crash.
func (a *Agent) Kill() { a.process.Kill() }

// answers reports whether there is a point in asking it. One that stands still must
// not be asked to write: it would do so when it goes on, after others have written.
func (a *Agent) answers() bool { return a.Alive() && !a.frozen }

// Stop ends the agent as an operator's restart does, without leaving its cluster.
func (a *Agent) Stop() error {
	if err := lan.Signal(a.process.PID(), syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-a.process.Ended():
		return nil
	case <-time.After(20 * time.Second):
		return fmt.Errorf("stop consul %s: it runs after 20 s", a.Name)
	}
}

// Freeze halts the process: connections stay open and nothing answers.
func (a *Agent) Freeze() error {
	a.frozen = true
	return lan.Freeze(a.process.PID())
}

// Thaw lets a frozen process go on.
func (a *Agent) Thaw() error {
	a.frozen = false
	return lan.Thaw(a.process.PID())
}

// Wipe takes away what the agent, which is down, has kept.
func (a *Agent) Wipe() error { return os.RemoveAll(a.data()) }

// Tail is the end of the agent's log.
func (a *Agent) Tail() string {
	const most = 4 << 10
	text, err := os.ReadFile(a.log())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-most):])
}
