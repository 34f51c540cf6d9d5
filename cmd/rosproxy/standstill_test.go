package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
	"github.com/rosproxy/rosproxy/discovery"
	"github.com/rosproxy/rosproxy/discovery/consultest"
	"github.com/rosproxy/rosproxy/proxy"
)

// counted puts a counter of what clients send in front of the worker.
func (w *worker) counted(t *testing.T) (service consultest.Service, sent *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	sent = new(atomic.Int64)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				behind, err := net.Dial("tcp", w.l.Addr().String())
				if err != nil {
					return
				}
				defer behind.Close()
				go func() { _, _ = io.Copy(c, behind); c.Close() }()
				_, _ = io.Copy(io.MultiWriter(counter{sent}, behind), c)
			}()
		}
	}()
	service = w.service(asMaster, inGroup)
	service.Port = l.Addr().(*net.TCPAddr).Port
	return service, sent
}

type counter struct{ n *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) { c.n.Add(int64(len(p))); return len(p), nil }

// stopFor stops a process, and lets it go on after d, which is longer than
// what it takes for a standstill.
func stopFor(t *testing.T, c *exec.Cmd, d time.Duration, meanwhile func()) {
	t.Helper()
	if err := c.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "every thread to be stopped", func() bool {
		states, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", c.Process.Pid))
		return err == nil && len(states) > 0 && !slices.ContainsFunc(states, func(file string) bool {
			stat, err := os.ReadFile(file)
			_, rest, ok := bytes.Cut(stat, []byte(") ")) // behind the name, which may hold anything
			return err == nil && ok && rest[0] != 'T'
		})
	})
	meanwhile()
	time.Sleep(d)
	if err := c.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// TestProcessThatStoodStillPassesNothingOnToAMasterOfBefore: what clients sent
// meanwhile never reaches a master that was deposed meanwhile, and reaches one
// that was not.
func TestProcessThatStoodStillPassesNothingOnToAMasterOfBefore(t *testing.T) {
	for _, policy := range [][]string{nil, {"--on-outage=fence", "--fence-after=1s"}} {
		t.Run(fmt.Sprint(policy), func(t *testing.T) {
			consul := startConsul(t)
			one, two := startWorker(t, "one"), startWorker(t, "two")
			service, sent := one.counted(t)
			consul.Register(service, two.service(asSlave, inGroup))
			c, log, listen := startProcess(t, append([]string{"--consul-addr=" + consul.Addr}, policy...)...)
			live := dialProxy(t, listen)
			live.greetedBy(one)

			stopFor(t, c, 2*time.Second, func() {})
			live.isAlive()
			before := sent.Load()
			stopFor(t, c, 2*time.Second, func() {
				consul.SetTags("one", asSlave, inGroup)
				consul.SetTags("two", asMaster, inGroup)
				fmt.Fprintln(live, "for the master of before")
			})
			live.isReset()
			if n := sent.Load() - before; n > 0 {
				t.Errorf("%d bytes reached the master that was deposed; want none", n)
			}
			dialProxy(t, listen).greetedBy(two)
			if t.Failed() {
				t.Logf("log of rosproxy:\n%s", log)
			}
		})
	}
}

// TestProcessThatStoodStillGoesOnWithoutConsul, where an outage keeps the master.
func TestProcessThatStoodStillGoesOnWithoutConsul(t *testing.T) {
	consul := startConsul(t)
	one := startWorker(t, "one")
	consul.Register(one.service(asMaster, inGroup))
	c, _, listen := startProcess(t, "--consul-addr="+consul.Addr)
	live := dialProxy(t, listen)
	live.greetedBy(one)
	stopFor(t, c, 2*time.Second, consul.Stop)
	live.isAlive()
}

// hinted is a source that notes what it is told.
type hinted struct {
	discovery.Source
	dials    []string
	verifies int
}

func (h *hinted) Run(context.Context, discovery.Sink) error { return nil }
func (h *hinted) DialFailed(label string)                   { h.dials = append(h.dials, label) }
func (h *hinted) VerifyNow()                                { h.verifies++ }

func TestSourceIsToldWhatTheDataPlaneNotices(t *testing.T) {
	for _, tc := range []struct {
		name string
		c    config.Config
		own  *discovery.Policy // of the label b
		a, b time.Duration
	}{
		{"keep", config.Config{}, nil, discovery.DefaultVerifyTimeout, discovery.DefaultVerifyTimeout},
		{"fence", config.Config{Discovery: discovery.Config{OnOutage: discovery.Fence}}, nil, -1, -1},
		{"static", config.Config{Static: map[string]string{"a": "h:1", "b": "h:1"}}, nil, 0, 0},
		{"one of them static", config.Config{Static: map[string]string{"a": "h:1"}}, nil, 0, discovery.DefaultVerifyTimeout},
		{"one of them fenced", config.Config{}, &discovery.Policy{OnOutage: discovery.Fence}, discovery.DefaultVerifyTimeout, -1},
	} {
		tc.c.Discovery.Labels = []discovery.Label{{Name: "a"}, {Name: "b", Policy: tc.own}}
		tc.c.Proxy.Listeners = []proxy.Listener{{Label: "a"}, {Label: "b"}}
		h := &hinted{}
		p := withHints(tc.c, h)
		p.OnDialFailure("a", errors.New("refused"))
		p.OnStandstill()
		if !slices.Equal(h.dials, []string{"a"}) || h.verifies != 1 {
			t.Errorf("%s: got hints of dials %q, and %d to verify; want one of each", tc.name, h.dials, h.verifies)
		}
		if got := p.Listeners; got[0].Revalidate != tc.a || got[1].Revalidate != tc.b {
			t.Errorf("%s: the listeners wait %v and %v to be confirmed; want %v and %v", tc.name, got[0].Revalidate, got[1].Revalidate, tc.a, tc.b)
		}
		if tc.c.Proxy.Listeners[0].Revalidate != 0 {
			t.Errorf("%s: the configuration was changed", tc.name)
		}
	}
}
