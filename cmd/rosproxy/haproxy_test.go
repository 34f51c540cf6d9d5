package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The real HAProxy in front: what it makes of our answers is what counts.

// balancer is a HAProxy with one frontend, and one backend with the one server s.
type balancer struct {
	t   *testing.T
	dir string
	log *syncBuffer
}

// startHAProxy starts a HAProxy whose backend has the lines given.
func startHAProxy(t *testing.T, backend string) *balancer {
	t.Helper()
	program, err := exec.LookPath("haproxy")
	if err != nil {
		t.Fatal("haproxy is not installed; `make test` installs it, or: apt-get install haproxy")
	}
	dir, err := os.MkdirTemp("", "ha") // short: a socket's path has a limit
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{t: t, dir: dir, log: &syncBuffer{}}
	config := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(config, []byte(fmt.Sprintf(`
global
    stats socket %s/stats
defaults
    mode tcp
    timeout connect 5s
    timeout client 1m
    timeout server 1m
frontend clients
    bind unix@%s/clients
    default_backend workers
backend workers
%s`, dir, dir, backend)), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := exec.CommandContext(ctx, program, "-db", "-f", config)
	c.Stdout, c.Stderr = b.log, b.log
	if err := c.Start(); err != nil {
		cancel()
		t.Fatalf("start haproxy: %v", err)
	}
	t.Cleanup(func() {
		cancel()
		_ = c.Wait()
		_ = os.RemoveAll(dir)
		if t.Failed() {
			t.Logf("log of haproxy:\n%s", b.log)
		}
	})
	eventually(t, "haproxy", func() bool { _, err := b.status(); return err == nil })
	return b
}

// status is what HAProxy's statistics say of the server.
func (b *balancer) status() (string, error) {
	c, err := net.Dial("unix", filepath.Join(b.dir, "stats"))
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(testTimeout))
	if _, err := io.WriteString(c, "show stat\n"); err != nil {
		return "", err
	}
	rows := csv.NewReader(bufio.NewReader(c))
	rows.FieldsPerRecord = -1
	all, err := rows.ReadAll()
	if err != nil {
		return "", err
	}
	at := map[string]int{}
	for i, name := range all[0] {
		at[name] = i
	}
	for _, row := range all[1:] {
		if len(row) > at["status"] && row[at["svname"]] == "s" {
			return row[at["status"]], nil
		}
	}
	return "", errors.New("no server s in the statistics")
}

// await waits until the server's status begins with want.
func (b *balancer) await(want string) {
	b.t.Helper()
	last := ""
	defer func() {
		if b.t.Failed() {
			b.t.Logf("last status of the server: %q", last)
		}
	}()
	eventually(b.t, "haproxy to see the server "+want, func() bool {
		s, err := b.status()
		if err == nil {
			last = s
		}
		return err == nil && strings.HasPrefix(s, want)
	})
}

// dial connects a client.
func (b *balancer) dial() *client {
	b.t.Helper()
	c, err := net.Dial("unix", filepath.Join(b.dir, "clients"))
	if err != nil {
		b.t.Fatalf("dial haproxy: %v", err)
	}
	b.t.Cleanup(func() { c.Close() })
	return &client{t: b.t, Conn: c, r: bufio.NewReader(c)}
}

// refuses checks that no new client gets through.
func (b *balancer) refuses() {
	b.t.Helper()
	if got, err := b.dial().line(); err == nil {
		b.t.Errorf("new client: greeted by %q; want haproxy to have no server for it", got)
	}
}

func TestHAProxyDrainsAndComesBackByTheAgentCheck(t *testing.T) {
	consul, one, p := follows(t, "--agent-check-listen=127.0.0.1:0")
	host, port, err := net.SplitHostPort(p.agentAddress())
	if err != nil {
		t.Fatal(err)
	}
	b := startHAProxy(t, fmt.Sprintf(
		"    server s %s check inter 100ms agent-check agent-addr %s agent-port %s agent-inter 100ms agent-send state\\n\n",
		p.label().Listen, host, port))
	b.await("UP")
	live := b.dial()
	live.greetedBy(one)

	var v map[string]any
	for range 2 { // it comes back each time
		p.request("POST", "/drain?grace=10m&timeout=20m", &v)
		b.await("DRAIN")
		b.refuses()
		live.isAlive()
		p.request("DELETE", "/drain", &v)
		b.await("UP")
		b.dial().greetedBy(one)
	}

	consul.Deregister(one.name)
	b.await("DOWN (agent)")
	p.request("POST", "/drain?grace=10m&timeout=20m", &v)
	consul.Register(one.service(asMaster, inGroup))
	b.await("DRAIN") // down and up again while it drains: neither sticks
	p.request("DELETE", "/drain", &v)
	b.await("UP")
	live.isAlive()
}

func TestHAProxyKeepsLiveSessionsWhenReadyzAnswers404(t *testing.T) {
	consul, one, p := follows(t)
	b := startHAProxy(t, fmt.Sprintf(`    option httpchk GET /readyz?draining=404
    http-check disable-on-404
    server s %s check addr unix@%s inter 100ms on-marked-down shutdown-sessions
`, p.label().Listen, p.socket))
	b.await("UP")
	live := b.dial()
	live.greetedBy(one)

	var v map[string]any
	p.request("POST", "/drain?grace=10m&timeout=20m", &v)
	b.await("NOLB")
	b.refuses()
	live.isAlive()
	p.request("DELETE", "/drain", &v)
	b.await("UP")
	b.dial().greetedBy(one)
	live.isAlive()

	consul.Deregister(one.name)
	b.await("DOWN") // a 503, as no session should stay
	if got, err := live.line(); err == nil {
		t.Errorf("live session of a server that is down: read %q; want it ended by haproxy", got)
	}
	consul.Register(one.service(asMaster, inGroup))
	b.await("UP")
}
