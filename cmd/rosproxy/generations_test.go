package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/api"
)

// installed is the name of the program where tests install it: the test
// binary, which is the program when it is called so (TestMain).
const installed = "rosproxy-under-test"

// generations are a process of the program, and those that replaced it.
type generations struct {
	t      *testing.T
	dir    string
	path   string // of the program, which a test may replace
	log    string // of all of them
	cmd    *exec.Cmd
	first  int // pid
	admin  string
	listen string
	client *http.Client
}

// startGenerations starts the program in a process of its own, as its users do.
func startGenerations(t *testing.T, args ...string) *generations {
	t.Helper()
	g := prepareGenerations(t)
	g.start(g.command(args...))
	g.await("the listener", func() bool {
		for _, l := range g.lines("listener opened") {
			if address, ok := l["listen"].(string); ok {
				g.listen = address
			}
		}
		return g.listen != ""
	})
	g.awaitStatus("the first generation", func(s api.Status) bool { return s.State == "serving" })
	return g
}

func prepareGenerations(t *testing.T) *generations {
	t.Helper()
	dir, err := os.MkdirTemp("", "rp") // short: a socket's path has a limit
	if err != nil {
		t.Fatal(err)
	}
	g := &generations{t: t, dir: dir, path: filepath.Join(dir, installed), log: filepath.Join(dir, "log"), admin: filepath.Join(dir, "a")}
	self, err := os.Executable()
	if err == nil {
		err = os.Symlink(self, g.path)
	}
	if err != nil {
		t.Fatal(err)
	}
	g.client = g.clientOf(g.admin)
	t.Cleanup(g.clean)
	return g
}

func (g *generations) command(args ...string) *exec.Cmd {
	c := exec.Command(g.path, append([]string{
		"--listen=127.0.0.1:0", "--admin-listen=unix:" + g.admin, "--log-format=json", "--log-level=debug", "--drain-grace=0s",
	}, args...)...)
	c.Env = append(slices.DeleteFunc(os.Environ(), func(e string) bool {
		return strings.HasPrefix(e, "RUNTIME_DIRECTORY=") || strings.HasPrefix(e, "NOTIFY_SOCKET=") || strings.HasPrefix(e, "WATCHDOG_")
	}), "RUNTIME_DIRECTORY="+g.dir, "GORACE=exitcode=66 atexit_sleep_ms=0")
	return c
}

func (g *generations) start(c *exec.Cmd) {
	g.t.Helper()
	log, err := os.Create(g.log) // a file: a pipe would stay open as long as the last of them
	if err != nil {
		g.t.Fatal(err)
	}
	defer log.Close()
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.cmd, g.first = c, c.Process.Pid
}

// clean ends all of them.
func (g *generations) clean() {
	log := g.read()
	g.client.CloseIdleConnections()
	for _, pid := range g.pids() {
		if g.isOurs(pid) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	if g.cmd != nil {
		_ = g.cmd.Wait()
	}
	if g.t.Failed() {
		g.t.Logf("log of all generations:\n%s", log)
	}
	if strings.Contains(log, "DATA RACE") {
		g.t.Error("a data race, see the log")
	}
	_ = os.RemoveAll(g.dir)
}

// pids are those of all processes that wrote to the log.
func (g *generations) pids() []int {
	pids := []int{}
	if g.cmd != nil {
		pids = append(pids, g.first)
	}
	for _, l := range g.lines("starting") {
		if pid := int(l["pid"].(float64)); !slices.Contains(pids, pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// isOurs reports whether pid lives, and was started from this test's path.
func (g *generations) isOurs(pid int) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && strings.HasPrefix(string(line), g.path) // empty for a zombie
}

func (g *generations) read() string {
	b, err := os.ReadFile(g.log)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		g.t.Fatal(err)
	}
	return string(b)
}

// lines gives the log lines whose message is message.
func (g *generations) lines(message string) []map[string]any {
	var found []map[string]any
	for line := range strings.Lines(g.read()) {
		var v map[string]any
		if json.Unmarshal([]byte(line), &v) == nil && v["message"] == message {
			found = append(found, v)
		}
	}
	return found
}

func (g *generations) await(what string, ok func() bool) {
	g.t.Helper()
	eventually(g.t, what, ok)
}

func (g *generations) awaitLine(message string) map[string]any {
	g.t.Helper()
	return g.awaitLines(message, 1)[0]
}

func (g *generations) awaitLines(message string, n int) []map[string]any {
	g.t.Helper()
	g.await(fmt.Sprintf("%d log lines %q", n, message), func() bool { return len(g.lines(message)) >= n })
	return g.lines(message)
}

func (g *generations) clientOf(socket string) *http.Client {
	return &http.Client{Timeout: testTimeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}
}

// statusAt asks the process that answers at socket.
func (g *generations) statusAt(socket string) (s api.Status, err error) {
	r, err := g.clientOf(socket).Get("http://rosproxy/status")
	if err != nil {
		return s, err
	}
	defer r.Body.Close()
	return s, json.NewDecoder(r.Body).Decode(&s)
}

func (g *generations) awaitStatus(what string, ok func(api.Status) bool) (s api.Status) {
	g.t.Helper()
	g.await(what, func() bool {
		var err error
		s, err = g.statusAt(g.admin)
		return err == nil && ok(s)
	})
	return s
}

// own is where a process answers that has handed over.
func (g *generations) own(pid int) string {
	return filepath.Join(g.dir, fmt.Sprintf("rosproxy-%d.sock", pid))
}

// awaitOwnStatus waits until the process pid, which has handed over, answers there.
func (g *generations) awaitOwnStatus(pid int) (s api.Status) {
	g.t.Helper()
	g.await(fmt.Sprintf("process %d at a socket of its own", pid), func() bool {
		var err error
		s, err = g.statusAt(g.own(pid))
		return err == nil
	})
	return s
}

func (g *generations) signal(pid int, s syscall.Signal) {
	g.t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		g.t.Fatalf("send %v to %d: %v", s, pid, err)
	}
}

// upgrade replaces the process pid, and gives that which serves then.
func (g *generations) upgrade(pid int) int {
	g.t.Helper()
	took := len(g.lines("took over from the old process"))
	g.signal(pid, syscall.SIGUSR2)
	g.awaitLines("took over from the old process", took+1)
	return g.awaitStatus("the new generation", func(s api.Status) bool { return s.PID != pid }).PID
}

func (g *generations) awaitGone(pid int) {
	g.t.Helper()
	if pid == g.first {
		if code := awaitExit(g.t, g.cmd); code != exitOK {
			g.t.Errorf("exit of the first generation: got %d; want 0", code)
		}
		return
	}
	g.await(fmt.Sprintf("the end of process %d", pid), func() bool { return !g.isOurs(pid) })
}

// descriptors is how many a process has open.
func (g *generations) descriptors(pid int) int {
	g.t.Helper()
	entries, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/fd")
	if err != nil {
		g.t.Fatal(err)
	}
	return len(entries)
}

// replace puts a script where the program was.
func (g *generations) replace(script string) {
	g.t.Helper()
	next := g.path + ".new"
	if err := os.WriteFile(next, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		g.t.Fatal(err)
	}
	if err := os.Rename(next, g.path); err != nil {
		g.t.Fatal(err)
	}
}

// traffic is short requests, one after the other, until it is stopped.
type traffic struct {
	wg      sync.WaitGroup
	cancel  context.CancelFunc
	served  atomic.Int64
	failed  atomic.Int64
	failure atomic.Pointer[error] // the first
}

func startTraffic(t *testing.T, address string, clients int) *traffic {
	ctx, cancel := context.WithCancel(t.Context())
	tr := &traffic{cancel: cancel}
	for range clients {
		tr.wg.Go(func() {
			for ctx.Err() == nil {
				if err := request(address); err != nil {
					tr.failed.Add(1)
					tr.failure.CompareAndSwap(nil, &err)
				}
				tr.served.Add(1)
				time.Sleep(time.Millisecond) // a steady stream, not a flood
			}
		})
	}
	t.Cleanup(func() { cancel(); tr.wg.Wait() })
	return tr
}

// awaitMore waits until some more requests have been served.
func (tr *traffic) awaitMore(t *testing.T) {
	t.Helper()
	from := tr.served.Load()
	eventually(t, "more requests", func() bool { return tr.served.Load() > from+20 })
}

// end stops the traffic; none of it may have failed.
func (tr *traffic) end(t *testing.T) {
	t.Helper()
	tr.cancel()
	tr.wg.Wait()
	if n := tr.failed.Load(); n > 0 {
		t.Errorf("got %d of %d requests failed, the first with %v; want none", n, tr.served.Load(), *tr.failure.Load())
	}
}

// request is one short request: connect, greeting, one line, the end.
func request(address string) error {
	c, err := net.DialTimeout("tcp", address, testTimeout)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(testTimeout))
	if _, err := io.WriteString(c, "x\n"); err != nil {
		return err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	b, err := io.ReadAll(c)
	if err == nil && !strings.HasSuffix(string(b), "\nx\n") {
		err = fmt.Errorf("got %q; want a greeting and an echo", b)
	}
	return err
}
