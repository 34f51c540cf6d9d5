package realconsul

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/discovery/consultest/internal/ports"
)

// pollTimeout is how long an agent may take to do what it was asked.
const pollTimeout = 60 * time.Second

// Option changes the configuration of every agent that is started with it.
type Option func(*options)

type options struct {
	config map[string]any
	token  string // the management token; empty: no access control
	wan    int    // port of the gossip between data centres; -1: there is none
}

// NoStreaming turns the streaming backend off, so that blocking queries are
// answered by the servers.
func NoStreaming() Option { return With("use_streaming_backend", false) }

// SessionTTLMin allows sessions shorter than Consul's 10 s.
func SessionTTLMin(d time.Duration) Option { return With("session_ttl_min", d.String()) }

// With sets one key of Consul's configuration.
func With(key string, value any) Option {
	return func(o *options) { o.config[key] = value }
}

// ACL turns access control on: deny is the default, and Agent.Token may do everything.
func ACL() Option {
	return func(o *options) {
		o.token = "5f1d3b5e-0000-4000-8000-000000000001"
		o.config["acl"] = map[string]any{
			"enabled": true, "default_policy": "deny", "down_policy": "extend-cache",
			"token_ttl": "0s", "policy_ttl": "0s", "role_ttl": "0s", // a revoked token is revoked at once
			"tokens": map[string]any{"initial_management": o.token, "agent": o.token},
		}
	}
}

// Agent is one Consul process. Its address stays the same over its lives.
type Agent struct {
	Addr  string // HOST:PORT of its HTTP API, what CONSUL_HTTP_ADDR wants
	URL   string // http://HOST:PORT
	Node  string // name of its node
	Token string // of management; empty without ACL

	t       testing.TB
	binary  string
	args    []string
	log     *os.File
	serf    string   // HOST:PORT of its gossip
	process *process // nil: it is down
	tokens  int      // how many were made
}

// StartDev starts a dev agent and waits until it can be worked with. Its
// catalog is in memory only.
func StartDev(t testing.TB, opts ...Option) *Agent {
	t.Helper()
	a := newAgent(t, "dev", map[string]any{}, opts)
	a.args = append(a.args, "-dev")
	a.Start()
	return a
}

// newAgent makes an agent that is not running yet.
func newAgent(t testing.TB, node string, config map[string]any, opts []Option) *Agent {
	t.Helper()
	o := options{config: map[string]any{}, wan: -1}
	for _, opt := range opts {
		opt(&o)
	}
	host := netip.MustParseAddr("127.0.0.1")
	var reserved [3]*ports.Reservation
	for i := range reserved {
		r, err := ports.Reserve(host)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.Release)
		reserved[i] = r
	}
	web, rpc, serf := reserved[0], reserved[1], reserved[2]
	maps.Copy(config, map[string]any{
		"node_name": node, "bind_addr": host.String(), "client_addr": host.String(),
		"ports": map[string]any{
			"http": web.Port(), "server": rpc.Port(), "serf_lan": serf.Port(),
			"serf_wan": o.wan, "dns": -1, "grpc": -1, "grpc_tls": -1,
		},
		"performance": map[string]any{"raft_multiplier": 1}, "disable_update_check": true, "leave_on_terminate": false,
	})
	maps.Copy(config, o.config)
	dir := t.TempDir()
	file := filepath.Join(dir, "config.json")
	body, err := json.Marshal(config)
	if err != nil {
		t.Fatalf("write the configuration of consul %s: %v", node, err)
	}
	if err := os.WriteFile(file, body, 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.OpenFile(filepath.Join(dir, "consul.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	a := &Agent{
		Addr: web.String(), URL: "http://" + web.String(), Node: node, Token: o.token,
		t: t, binary: Binary(t), args: []string{"agent", "-config-file", file, "-log-level", "info"},
		log: log, serf: serf.String(),
	}
	t.Cleanup(a.end)
	return a
}

// end is the end of the test.
func (a *Agent) end() {
	a.Kill()
	a.log.Close()
	if a.t.Failed() {
		a.t.Logf("log of consul %s:\n%s", a.Node, a.tail())
	}
}

// Start brings the agent up, at the same address, and returns when it can be
// worked with. One that is up stays so.
func (a *Agent) Start() {
	a.t.Helper()
	a.launch()
	a.awaitReady()
}

// launch starts the process.
func (a *Agent) launch() {
	a.t.Helper()
	if a.process != nil && a.process.alive() {
		return
	}
	p, err := startProcess(a.log, a.binary, a.args...)
	if err != nil {
		a.t.Fatal(err)
	}
	a.process = p
}

// Stop ends the agent as an operator's restart does, without leaving its
// cluster, and returns when it is gone.
func (a *Agent) Stop() {
	a.t.Helper()
	p := a.process
	if p == nil {
		return
	}
	if err := p.signal(syscall.SIGTERM); err != nil {
		a.t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(pollTimeout):
		a.t.Fatalf("consul %s did not stop in %v", a.Node, pollTimeout)
	}
	a.process = nil
}

// Kill ends the agent like a crash, and returns when it is gone. A frozen one can be killed.
func (a *Agent) Kill() {
	if a.process != nil {
		a.process.kill()
		a.process = nil
	}
}

// Freeze halts the process: connections stay open and nothing answers.
func (a *Agent) Freeze() {
	a.mustSignal(syscall.SIGSTOP)
	for !a.process.standsStill() { // the signal reaches its threads one by one
		time.Sleep(time.Millisecond)
	}
}

// Thaw lets a frozen process go on.
func (a *Agent) Thaw() { a.mustSignal(syscall.SIGCONT) }

func (a *Agent) mustSignal(s syscall.Signal) {
	a.t.Helper()
	if a.process == nil || !a.process.alive() {
		a.t.Fatalf("signal %s to consul %s: it is not running", s, a.Node)
	}
	if err := a.process.signal(s); err != nil {
		a.t.Fatal(err)
	}
}

// Restart kills the agent and starts it again at the same address. A dev
// agent comes back with an empty catalog and an index that starts over.
func (a *Agent) Restart() {
	a.t.Helper()
	a.Kill()
	a.Start()
}

// Client makes an official client for the agent, with its token of management
// if it has one. It keeps no connections, so that it need not be closed.
func (a *Agent) Client() *api.Client { return a.ClientWithToken(a.Token) }

// ClientWithToken makes an official client with a token; empty: none.
func (a *Agent) ClientWithToken(token string) *api.Client {
	a.t.Helper()
	c, err := api.NewClient(&api.Config{Address: a.Addr, Token: token, Transport: &http.Transport{DisableKeepAlives: true}})
	if err != nil {
		a.t.Fatalf("make a client of consul %s: %v", a.Node, err)
	}
	return c
}

// Impatient makes a client that gives up on an agent that does not answer.
func (a *Agent) Impatient() *api.Client {
	a.t.Helper()
	c, err := api.NewClient(&api.Config{
		Address: a.Addr, Token: a.Token,
		HttpClient: &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
	})
	if err != nil {
		a.t.Fatalf("make a client of consul %s: %v", a.Node, err)
	}
	return c
}

// awaitReady waits until there is a leader and the agent's own node is alive in the catalog.
func (a *Agent) awaitReady() {
	a.t.Helper()
	c := a.Impatient()
	a.poll("become ready", func() error {
		if leader, err := c.Status().Leader(); err != nil || leader == "" {
			return fmt.Errorf("leader %q, error %v", leader, err)
		}
		checks, _, err := c.Health().Node(a.Node, &api.QueryOptions{RequireConsistent: true})
		if err != nil {
			return err
		}
		if checks.AggregatedStatus() != api.HealthPassing || len(checks) == 0 {
			return fmt.Errorf("node %s: %d checks, %s", a.Node, len(checks), checks.AggregatedStatus())
		}
		return nil
	})
}

// poll tries until try succeeds; when the agent dies or pollTimeout ends, so does the test.
func (a *Agent) poll(what string, try func() error) {
	a.t.Helper()
	deadline := time.Now().Add(pollTimeout)
	for {
		err := try()
		if err == nil {
			return
		}
		if a.process == nil || !a.process.alive() {
			a.t.Fatalf("consul %s ended before it could %s; last seen: %v", a.Node, what, err)
		}
		if time.Now().After(deadline) {
			a.t.Fatalf("consul %s did not %s in %v; last seen: %v", a.Node, what, pollTimeout, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// tail is the end of the agent's log.
func (a *Agent) tail() string {
	const most = 64 << 10
	b, err := os.ReadFile(a.log.Name())
	if err != nil {
		return err.Error()
	}
	if len(b) > most {
		b = b[len(b)-most:]
	}
	return string(bytes.TrimSpace(b))
}

// withoutPrefix drops the variables whose name begins with prefix.
func withoutPrefix(env []string, prefix string) []string {
	var out []string
	for _, e := range env {
		if !strings.HasPrefix(e, prefix) {
			out = append(out, e)
		}
	}
	return out
}
