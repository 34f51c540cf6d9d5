package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/rosproxy/rosproxy/cmd/internal/freeport"
	"github.com/rosproxy/rosproxy/discovery/consultest"
)

// consulUp bounds how long a Consul may take to answer at first.
const consulUp = 20 * time.Second

// consul is the Consul that the demo uses.
type consul struct {
	client *api.Client
	addr   string   // of an own one
	flags  []string // how workers and rosproxy are told of it
	env    []string // their environment
	label  string
	words  string // which one it is
	agent  *process
	double *consultest.Server
}

// chooseConsul takes the Consul that mode, options.Consul, says, and says which.
func chooseConsul(ctx context.Context, mode, dir string, scr *screen) (*consul, error) {
	if addr := os.Getenv("CONSUL_HTTP_ADDR"); mode == "auto" && addr != "" {
		return existingConsul(ctx, addr, scr)
	}
	path := mode
	if mode == "auto" {
		path = findConsul()
	}
	if path != "double" && path != "" {
		c, err := devConsul(ctx, path, dir, scr)
		if err == nil || mode != "auto" || ctx.Err() != nil {
			return c, err
		}
		scr.print(fmt.Sprintf("%s does not work here: %v", path, err))
		return doubleConsul(path + " does not work")
	}
	if path == "double" {
		return doubleConsul("asked for")
	}
	return doubleConsul("CONSUL_HTTP_ADDR is not set, and no consul is on PATH or in bin")
}

// findConsul looks for a consul on PATH and in bin; empty: there is none.
func findConsul() string {
	if p, err := exec.LookPath("consul"); err == nil {
		return p
	}
	for _, p := range besides("consul") {
		if i, err := os.Stat(p); err == nil && i.Mode().IsRegular() && i.Mode()&0o111 != 0 {
			return p
		}
	}
	return ""
}

// besides lists where a program of this project may be: beside this one, and in bin.
func besides(name string) []string {
	var paths []string
	if exe, err := os.Executable(); err == nil {
		paths = append(paths, filepath.Join(filepath.Dir(exe), name))
	}
	return append(paths, filepath.Join("bin", name))
}

// existingConsul uses a Consul that others may use too: the demo's label is
// one that nobody else has, and is cleaned up in the end.
func existingConsul(ctx context.Context, addr string, scr *screen) (*consul, error) {
	conf := api.DefaultConfig()
	conf.Transport.Proxy = nil // HTTP_PROXY is not for Consul
	client, err := api.NewClient(conf)
	if err != nil {
		return nil, fmt.Errorf("use CONSUL_HTTP_ADDR=%s: %w", addr, err)
	}
	var unique [3]byte
	rand.Read(unique[:]) //nolint:errcheck // it never fails
	c := &consul{
		client: client, env: childEnv("ROSPROXY_", "SYNC_"), label: "demo-" + hex.EncodeToString(unique[:]),
		words: "CONSUL_HTTP_ADDR=" + addr,
	}
	if err := c.awaitLeader(ctx, scr); err != nil {
		return nil, fmt.Errorf("use CONSUL_HTTP_ADDR=%s (unset it to do without): %w", addr, err)
	}
	return c, nil
}

// devConsul starts a dev agent of the binary at path.
func devConsul(ctx context.Context, path, dir string, scr *screen) (*consul, error) {
	var ports [3]string
	for i := range ports {
		p, err := freeport.Find()
		if err != nil {
			return nil, err
		}
		ports[i] = strconv.Itoa(p)
	}
	agent, err := startProcess(dir, "consul", childEnv("ROSPROXY_", "SYNC_", "CONSUL_"), nil, path, "agent", "-dev", "-log-level", "info",
		"-bind", "127.0.0.1", "-client", "127.0.0.1", "-node", "demo",
		"-http-port", ports[0], "-server-port", ports[1], "-serf-lan-port", ports[2],
		"-serf-wan-port", "-1", "-dns-port", "-1", "-grpc-port", "-1", "-grpc-tls-port", "-1")
	if err != nil {
		return nil, err
	}
	c, err := ownConsul("127.0.0.1:"+ports[0], fmt.Sprintf("a dev agent of %s", path))
	if err == nil {
		c.agent = agent
		err = c.awaitLeader(ctx, scr)
	}
	if err != nil {
		agent.stop()
		return nil, err
	}
	return c, nil
}

func doubleConsul(why string) (*consul, error) {
	s, err := consultest.Listen(consultest.Config{})
	if err != nil {
		return nil, fmt.Errorf("start the double of consul: %w", err)
	}
	c, err := ownConsul(s.Addr, "the in-memory double ("+why+")")
	if err != nil {
		s.Close()
		return nil, err
	}
	c.double = s
	return c, nil
}

// ownConsul is one that nobody else uses.
func ownConsul(addr, words string) (*consul, error) {
	client, err := api.NewClient(&api.Config{Address: addr, Transport: &http.Transport{}})
	if err != nil {
		return nil, fmt.Errorf("configure consul at %s: %w", addr, err)
	}
	return &consul{
		client: client, addr: addr, flags: []string{"--consul-addr", addr}, env: childEnv("ROSPROXY_", "SYNC_", "CONSUL_"), label: "default",
		words: words + ", at " + addr,
	}, nil
}

// childEnv is the environment without what would configure a child behind the
// demo's back: variables with one of the prefixes.
func childEnv(without ...string) []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		return slices.ContainsFunc(without, func(prefix string) bool { return strings.HasPrefix(v, prefix) })
	})
}

// awaitLeader waits until Consul can be written to.
func (c *consul) awaitLeader(ctx context.Context, scr *screen) error {
	ctx, cancel := context.WithTimeout(ctx, consulUp)
	defer cancel()
	for said := time.Now(); ; {
		leader, err := c.client.Status().LeaderWithQueryOptions((&api.QueryOptions{}).WithContext(ctx))
		if err == nil && leader != "" {
			return nil
		}
		if c.agent != nil && c.agent.ended() {
			return c.agent.died()
		}
		if time.Since(said) > murmurAfter {
			said = time.Now()
			scr.note("still waiting for Consul to have a leader: %v", err)
		}
		if !sleep(ctx, 50*time.Millisecond) {
			return fmt.Errorf("no leader within %v, last error: %v", consulUp, err)
		}
	}
}

// reports is where the instances of rosproxy say what they have obeyed.
func (c *consul) reports() string { return "rosproxy/fence/" + c.label }

// close ends a Consul that was started here; one that was there is left as it was found.
func (c *consul) close(workers []*worker) {
	switch {
	case c.double != nil:
		c.double.Close()
	case c.agent != nil:
		c.agent.stop()
	default:
		for _, w := range workers {
			c.client.Agent().ServiceDeregister(w.serviceID()) //nolint:errcheck // most are gone already
		}
		for _, tree := range []string{"sync/" + c.label + "/", c.reports() + "/"} {
			c.client.KV().DeleteTree(tree, nil) //nolint:errcheck // nobody is left to tell
		}
	}
}

// sleep waits for d; it answers false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
