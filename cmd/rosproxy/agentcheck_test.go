package main

import (
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// agentAddress is where p answers agent checks.
func (p *running) agentAddress() string {
	p.t.Helper()
	address := ""
	eventually(p.t, "the agent check's listener", func() bool {
		for _, l := range p.log.lines(p.t, "listener opened") {
			if l["component"] == "agent-check" {
				address = l["address"].(string)
			}
		}
		return address != ""
	})
	return address
}

// agentSays asks the agent check as HAProxy does, with or without a word of its own.
func agentSays(t *testing.T, network, address, send string) string {
	t.Helper()
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatalf("connect to the agent check: %v", err)
	}
	return finishAgentCheck(t, c, send)
}

// finishAgentCheck sends some pieces and gives the answer.
func finishAgentCheck(t *testing.T, c net.Conn, send ...string) string {
	t.Helper()
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(testTimeout))
	for _, s := range send {
		if _, err := io.WriteString(c, s); err != nil {
			t.Fatalf("write to the agent check: %v", err)
		}
	}
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatalf("read from the agent check: %v", err)
	}
	return string(b)
}

func (p *running) awaitAgent(want string) {
	p.t.Helper()
	address, last := p.agentAddress(), ""
	defer func() {
		if p.t.Failed() {
			p.t.Logf("last answer to an agent check: %q", last)
		}
	}()
	eventually(p.t, "the agent's answer "+want, func() bool {
		last = agentSays(p.t, "tcp", address, "")
		return last == want
	})
}

func TestAgentCheckFollowsTheProcessToItsEnd(t *testing.T) {
	consul, one, p := follows(t, "--agent-check-listen=127.0.0.1:0")
	p.awaitAgent("up ready\n")
	if got := agentSays(t, "tcp", p.agentAddress(), "backend/server\n"); got != "up ready\n" {
		t.Errorf("with agent-send: got %q; want up ready", got)
	}
	var v map[string]any
	p.request("POST", "/drain?grace=0s", &v)
	p.awaitAgent("drain up #draining\n")
	eventually(t, "drained", func() bool { return p.drainState()["state"] == "drained" })
	p.awaitAgent("drain up #draining\n")
	p.request("DELETE", "/drain", &v)
	p.awaitAgent("up ready\n")
	consul.Deregister(one.name)
	p.awaitAgent("down ready #no master: default\n")
	consul.Register(one.service(asMaster, inGroup))
	p.awaitAgent("up ready\n")

	address := p.agentAddress()
	p.request("POST", "/drain?grace=0s&exit=true", &v)
	p.awaitEnd(exitOK)
	if c, err := net.Dial("tcp", address); err == nil {
		c.Close()
		t.Error("agent check after the end: got a connection; want it refused")
	}
}

func TestAgentCheckOnAUnixSocket(t *testing.T) {
	one := startWorker(t, "one")
	dir, err := os.MkdirTemp("", "rp") // short: a socket's path has a limit
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	p := startProgram(t, "--static-master="+one.l.Addr().String(), "--agent-check-listen=unix:"+dir+"/b")
	p.awaitReady()
	if got := agentSays(t, "unix", dir+"/b", ""); got != "up ready\n" {
		t.Errorf("got %q; want up ready", got)
	}
	p.signals <- terminate
	p.signals <- terminate
	p.awaitEnd(exitOK)
	if _, err := os.Stat(dir + "/b"); !os.IsNotExist(err) {
		t.Errorf("socket after the end: got %v; want it removed", err)
	}
}
