// Package consul runs the real Consul: a dev agent, or servers with a client
// agent, and elects masters in it.
package consul

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/rosproxy/rosproxy/bench/internal/proc"
)

// Agent is a Consul that is up, alone or as one of a cluster.
type Agent struct {
	HTTP, DNS string // HOST:PORT

	processes []*proc.Process // the agent's own is the last
	servers   []int           // each process's port for servers' RPC
	client    http.Client
	filled    map[string]bool // services that have all their labels
}

// testTimeout is how long Consul may take to come up.
const testTimeout = 60 * time.Second

// StartDev starts a dev agent, with its files in dir, and waits until it can be worked with.
func StartDev(ctx context.Context, binary, dir string) (*Agent, error) {
	n, err := newNode(dir, "dev", nil, 1)
	if err != nil {
		return nil, err
	}
	a := &Agent{}
	err = a.launch(binary, n, "-dev")
	return a.up(ctx, n, err)
}

// StartServer starts one server that elects itself, as a small production runs
// it: unlike a dev agent it keeps its state on disk and does not indent the
// JSON of its answers.
func StartServer(ctx context.Context, binary, dir string) (*Agent, error) {
	n, err := newNode(dir, "server", map[string]any{"server": true, "bootstrap_expect": 1}, 1)
	if err != nil {
		return nil, err
	}
	a := &Agent{}
	err = a.launch(binary, n, "-data-dir", filepath.Join(dir, n.name))
	return a.up(ctx, n, err)
}

// StartCluster starts servers and a client agent of theirs, which is what the
// result stands for, and waits until it can be worked with.
func StartCluster(ctx context.Context, binary, dir string, servers int) (*Agent, error) {
	a := &Agent{}
	var nodes []*node
	var join []string
	for i := range servers {
		n, err := newNode(dir, fmt.Sprintf("server-%d", i), map[string]any{"server": true, "bootstrap_expect": servers}, 1)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
		join = append(join, fmt.Sprintf("127.0.0.1:%d", n.serf))
	}
	client, err := newNode(dir, "client", nil, 1)
	if err != nil {
		return nil, err
	}
	var failed error
	for _, n := range append(nodes, client) {
		args := []string{"-data-dir", filepath.Join(dir, n.name)}
		for _, to := range join {
			args = append(args, "-retry-join", to, "-retry-interval", "1s")
		}
		failed = errors.Join(failed, a.launch(binary, n, args...))
	}
	return a.up(ctx, client, failed)
}

// up waits for the agent on n; on failure it leaves nothing running.
func (a *Agent) up(ctx context.Context, n *node, err error) (*Agent, error) {
	a.HTTP, a.DNS = fmt.Sprintf("127.0.0.1:%d", n.http), fmt.Sprintf("127.0.0.1:%d", n.dns)
	a.filled = map[string]bool{}
	a.client = http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}} // no HTTP_PROXY
	if err == nil {
		err = a.awaitReady(ctx, n.name)
	}
	for _, p := range a.processes {
		if err == nil {
			_, err = p.Tree()
		}
	}
	if err != nil {
		a.Stop()
		return nil, fmt.Errorf("start consul: %w", err)
	}
	return a, nil
}

// Stop kills the agent and its cluster.
func (a *Agent) Stop() {
	for _, p := range a.processes {
		p.Stop()
	}
	a.client.CloseIdleConnections()
}

// awaitReady waits until there is a leader that knows the agent's node as alive.
func (a *Agent) awaitReady(ctx context.Context, node string) error {
	ctx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	for {
		var checks []struct{ Status string }
		err := a.call(ctx, http.MethodGet, "/v1/health/node/"+node+"?consistent", nil, &checks)
		if err == nil && len(checks) > 0 && checks[0].Status == "passing" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready after %v (%d checks, error %w); %s says: %s", testTimeout, len(checks), err, node, a.processes[len(a.processes)-1].Output())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// node is how one Consul process is configured.
type node struct {
	name, file      string
	log             string
	http, dns, serf int
	server          int // port of servers' RPC
}

// newNode configures a node. multiplier is its raft_multiplier.
func newNode(dir, name string, config map[string]any, multiplier int) (*node, error) {
	var p [4]int
	if err := freePorts(p[:]); err != nil {
		return nil, err
	}
	n := &node{name: name, file: filepath.Join(dir, name+".json"), log: filepath.Join(dir, name+".log"), http: p[0], dns: p[1], serf: p[2], server: p[3]}
	if config == nil {
		config = map[string]any{}
	}
	config["node_name"], config["bind_addr"], config["client_addr"] = name, "127.0.0.1", "127.0.0.1"
	config["ports"] = map[string]any{"http": n.http, "dns": n.dns, "serf_lan": n.serf, "server": n.server, "serf_wan": -1, "grpc": -1, "grpc_tls": -1}
	config["performance"] = map[string]any{"raft_multiplier": multiplier}
	config["disable_update_check"], config["log_level"] = true, "warn"
	text, err := json.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("configure consul: %w", err)
	}
	if err := os.WriteFile(n.file, text, 0o600); err != nil {
		return nil, fmt.Errorf("configure consul: %w", err)
	}
	return n, nil
}

// freePorts finds ports that nobody listens on, for TCP and UDP, below those
// that the kernel gives to outgoing connections. The places to look begin at
// random, so that the nodes of a cluster do not find the same.
func freePorts(out []int) error {
	const first, last = 10000, 19999
	found := 0
	for range last - first {
		port := first + rand.IntN(last-first)
		if found == len(out) {
			return nil
		}
		if !slices.Contains(out[:found], port) && isFree(port) {
			out[found] = port
			found++
		}
	}
	return errors.New("configure consul: no free ports")
}

func isFree(port int) bool {
	at := fmt.Sprintf("127.0.0.1:%d", port)
	stream, err := net.Listen("tcp", at)
	if err != nil {
		return false
	}
	defer stream.Close()
	packets, err := net.ListenPacket("udp", at)
	if err != nil {
		return false
	}
	packets.Close()
	return true
}

func (a *Agent) launch(binary string, n *node, args ...string) error {
	p, err := startAgent(binary, n, args...)
	if err != nil {
		return err
	}
	a.processes, a.servers = append(a.processes, p), append(a.servers, n.server)
	return nil
}

func startAgent(binary string, n *node, args ...string) (*proc.Process, error) {
	return proc.Start(proc.Options{Log: n.log, Env: []string{"GOMAXPROCS=2"}}, binary, append([]string{"agent", "-config-file", n.file}, args...)...)
}
