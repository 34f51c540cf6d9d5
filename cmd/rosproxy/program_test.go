package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const terminate = syscall.SIGTERM

// runOnce runs a command that ends by itself.
func runOnce(t *testing.T, args, env []string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	var out, errs bytes.Buffer
	code = Program{Args: args, Env: env, Stdout: &out, Stderr: &errs}.Run(ctx)
	return code, out.String(), errs.String()
}

func TestBadUsageIsOneLineAndExitCodeTwo(t *testing.T) {
	wrong := filepath.Join(t.TempDir(), "rosproxy.yaml")
	if err := os.WriteFile(wrong, []byte("service: sync\ncolour: blue\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args, env []string
		says      string
	}{
		{[]string{"--hold-timeout", "abc"}, nil, `rosproxy: --hold-timeout "abc": not a duration such as 500ms, 10s or 5m` + "\n"},
		{nil, []string{"ROSPROXY_HOLD_TIMEOUT=abc"}, `rosproxy: --hold-timeout "abc" (from ROSPROXY_HOLD_TIMEOUT): not a duration such as 500ms, 10s or 5m` + "\n"},
		{[]string{"--congestion-control", "nosuch"}, nil, `rosproxy: --congestion-control "nosuch": this kernel has no such congestion control`},
		{[]string{"check"}, []string{"ROSPROXY_CONGESTION_CONTROL=nosuch"}, `--congestion-control "nosuch": this kernel`},
		{[]string{"--nope"}, nil, "unknown flag --nope"},
		{[]string{"--no\npe"}, nil, "unknown flag --no pe"},
		{[]string{"--consul-addr", "ftp://c"}, nil, "--consul-addr"},
		{[]string{"check", "--drop", "x"}, nil, `--drop "x"`},
		{[]string{"--config", wrong}, nil, "rosproxy: " + wrong + ":2: colour: no such key\n"},
		{[]string{"check"}, []string{"ROSPROXY_CONFIG=" + wrong}, "rosproxy: " + wrong + ":2: colour: no such key\n"},
	} {
		code, stdout, stderr := runOnce(t, c.args, c.env)
		if code != exitUsage || stdout != "" {
			t.Errorf("%q: got code %d, stdout %q; want 2 and nothing", c.args, code, stdout)
		}
		if !strings.HasPrefix(stderr, "rosproxy: ") || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, c.says) {
			t.Errorf("%q: got %q; want one line that says %q", c.args, stderr, c.says)
		}
	}
}

// Whatever is wrong with a file: one line, exit status 2, and the file is named.
func TestEveryWrongFileEndsTheProgramWithTwoAndOneLine(t *testing.T) {
	files, err := filepath.Glob("internal/config/testdata/invalid-*.yaml")
	if err != nil || len(files) < 80 {
		t.Fatalf("got %d files, %v; want all of them", len(files), err)
	}
	for _, file := range files {
		for _, command := range []string{"run", "check"} {
			code, stdout, stderr := runOnce(t, []string{command, "--config", file}, nil)
			if code != exitUsage || stdout != "" || !strings.HasPrefix(stderr, "rosproxy: "+file+":") || strings.Count(stderr, "\n") != 1 {
				t.Errorf("%s %s: got code %d, %q, %q; want 2 and one line about the file", command, file, code, stdout, stderr)
			}
		}
	}
}

func TestVersionAndHelp(t *testing.T) {
	code, stdout, stderr := runOnce(t, []string{"version"}, nil)
	if code != exitOK || !strings.HasPrefix(stdout, "rosproxy ") || stderr != "" {
		t.Errorf("version: got %d %q %q; want 0 and the version", code, stdout, stderr)
	}
	code, stdout, stderr = runOnce(t, []string{"--help"}, nil)
	if code != exitOK || !strings.Contains(stdout, "--hold-timeout") || stderr != "" {
		t.Errorf("--help: got %d %q; want 0 and the flags", code, stderr)
	}
}

func TestListenerThatCannotBeOpenedEndsTheProgramWithOne(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	socket := filepath.Join(t.TempDir(), "a")
	taken := l.Addr().String()
	for _, args := range [][]string{
		{"--listen=" + taken, "--admin-listen=unix:" + socket, "--static-master=127.0.0.1:1"},
		{"--listen=127.0.0.1:0", "--admin-listen=" + taken, "--static-master=127.0.0.1:1"},
		{"--listen=127.0.0.1:0", "--admin-listen=unix:" + socket, "--agent-check-listen=" + taken, "--static-master=127.0.0.1:1"},
		{"--listen=" + taken, "--admin-listen=unix:" + socket, "--agent-check-listen=127.0.0.1:0", "--static-master=127.0.0.1:1"},
	} {
		code, _, stderr := runOnce(t, args, nil)
		if code != exitFailed || !strings.Contains(stderr, taken) || !strings.Contains(stderr, "address already in use") {
			t.Errorf("%q: got %d %q; want 1 and the reason", args, code, stderr)
		}
	}
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("admin socket: got %v; want it removed", err)
	}
}

// command is the real program in a process of its own.
func command(t *testing.T, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), 2*testTimeout)
	t.Cleanup(cancel)
	c := exec.CommandContext(ctx, os.Args[0], args...)
	c.Env = append(os.Environ(), asProgram+"=1", "GORACE=exitcode=66")
	return c
}

// startProcess starts the real program and waits until it listens.
func startProcess(t *testing.T, args ...string) (*exec.Cmd, *syncBuffer, string) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "a")
	c := command(t, append([]string{"--listen=127.0.0.1:0", "--admin-listen=unix:" + socket, "--log-format=json"}, args...)...)
	log, listen := startAndAwaitListener(t, c)
	return c, log, listen
}

func startAndAwaitListener(t *testing.T, c *exec.Cmd) (log *syncBuffer, listen string) {
	t.Helper()
	log = &syncBuffer{}
	c.Stderr = log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	eventually(t, "the listener", func() bool {
		for _, l := range log.lines(t, "listener opened") {
			if address, ok := l["listen"].(string); ok {
				listen = address
			}
		}
		return listen != ""
	})
	return log, listen
}

// TestSchedulerHasRoomBesideTheShards: a busy event loop keeps its place in
// Go's scheduler while it waits, and who must cut must not wait for one.
func TestSchedulerHasRoomBesideTheShards(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	one := startWorker(t, "one")
	for _, shards := range []int{1, before, before + 3} {
		p := startProgram(t, "--static-master="+one.l.Addr().String(), fmt.Sprintf("--shards=%d", shards))
		if got, want := runtime.GOMAXPROCS(0), max(before, shards+1); got != want {
			t.Errorf("%d shards: got room for %d goroutines at a time; want %d", shards, got, want)
		}
		p.signals <- terminate
		p.signals <- terminate
		p.awaitEnd(exitOK)
		if got := runtime.GOMAXPROCS(0); got != before {
			t.Errorf("after the end: got %d; want %d as before", got, before)
		}
	}
}

// TestMemoryOfTheStartIsGivenBack before clients come.
func TestMemoryOfTheStartIsGivenBack(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	startProgram(t, "--static-master="+startWorker(t, "one").l.Addr().String())
	runtime.ReadMemStats(&after)
	if after.NumForcedGC == before.NumForcedGC {
		t.Error("nothing was collected at the start")
	}
}

// TestProgramEndsWithItsAdminEndpoints: a proxy that nobody can see or drain
// must not go on.
func TestProgramEndsWithItsAdminEndpoints(t *testing.T) {
	one := startWorker(t, "one")
	ctx, cancel := context.WithCancel(context.Background())
	log, ended := &syncBuffer{}, make(chan int, 1)
	go func() {
		ended <- Program{Args: []string{
			"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--static-master=" + one.l.Addr().String(), "--log-format=json",
		}, Stderr: log}.Run(ctx)
	}()
	defer func() { cancel(); <-ended }()
	opened := map[string]string{} // component -> address
	eventually(t, "the listeners", func() bool {
		for _, l := range log.lines(t, "listener opened") {
			for _, name := range []string{"listen", "address"} {
				if at, ok := l[name].(string); ok {
					opened[l["component"].(string)] = at
				}
			}
		}
		return len(opened) == 2
	})
	live := dialProxy(t, opened["proxy"])
	live.greetedBy(one)
	breakListener(t, opened["admin"])
	select {
	case code := <-ended:
		ended <- code
		if code != exitFailed {
			t.Errorf("got exit code %d; want %d", code, exitFailed)
		}
	case <-time.After(testTimeout):
		t.Fatalf("waited %v for the end", testTimeout)
	}
	if lines := log.lines(t, "failed"); len(lines) != 1 || !strings.Contains(lines[0]["error"].(string), "serve admin requests") {
		t.Errorf("got lines %v; want one that says what failed", lines)
	}
	if got, err := live.line(); err == nil {
		t.Errorf("live connection: read %q; want its end", got)
	}
}

// breakListener makes the listener at that address, of this process, accept nobody any more.
func breakListener(t *testing.T, address string) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range fds {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || listens == 0 {
			continue
		}
		at, err := unix.Getsockname(fd)
		if at, ok := at.(*unix.SockaddrInet4); err == nil && ok && fmt.Sprintf("127.0.0.1:%d", at.Port) == address {
			if err := unix.Shutdown(fd, unix.SHUT_RDWR); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("no listener at %s", address)
}

// TestAdminConnectionsLeaveTheDescriptorsOfClientsAlone: where there are few,
// all that may be open on the admin side and all clients fit in together.
func TestAdminConnectionsLeaveTheDescriptorsOfClientsAlone(t *testing.T) {
	one := startWorker(t, "one")
	dir, err := os.MkdirTemp("", "rp") // short: a socket's path has a limit
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	admin, agent := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	c := command(t, "--listen=127.0.0.1:0", "--admin-listen=unix:"+admin, "--agent-check-listen=unix:"+agent,
		"--static-master="+one.l.Addr().String(), "--log-format=json", "--shards=2")
	c.Args = append([]string{"/bin/sh", "-c", `ulimit -n 128 && exec "$0" "$@"`, c.Path}, c.Args[1:]...)
	c.Path = "/bin/sh"
	log, listen := startAndAwaitListener(t, c)
	for _, path := range []string{admin, agent} {
		for range 200 {
			silent, err := net.Dial("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer silent.Close()
		}
	}
	for range 20 {
		dialProxy(t, listen).greetedBy(one)
	}
	if n := len(log.lines(t, "accepting paused, clients wait in the listen queue")); n > 0 {
		t.Errorf("got %d warnings of a shortage; want none", n)
	}
}

// awaitExit waits for the end of a process and answers its exit code.
func awaitExit(t *testing.T, c *exec.Cmd) int {
	t.Helper()
	err := c.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	if err != nil {
		t.Fatalf("wait: %v", err)
	}
	return 0
}

func TestTerminatedProcessDrainsAndExitsZero(t *testing.T) {
	one := startWorker(t, "one")
	for _, signal := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		c, log, listen := startProcess(t, "--static-master="+one.l.Addr().String(), "--drain-grace=0s")
		live := dialProxy(t, listen)
		live.greetedBy(one)
		if err := c.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the drain", func() bool { return strings.Contains(log.String(), "drain started") })
		live.isAlive()
		live.Close()
		if code := awaitExit(t, c); code != exitOK {
			t.Errorf("%v: got %d; want 0\n%s", signal, code, log)
		}
	}
}

func TestSignalEndsACheck(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // a Consul that hangs
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	signals := make(chan os.Signal, 1)
	var out bytes.Buffer
	p := Program{Args: []string{"check", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--consul-addr=" + silent.Addr().String()}, Stdout: &out, Stderr: &bytes.Buffer{}, Signals: signals}
	signals <- syscall.SIGINT
	if code := p.Run(t.Context()); code != exitFailed || !strings.HasSuffix(out.String(), "FAIL interrupted (interrupt)\n") || strings.Contains(out.String(), "cannot be reached") {
		t.Errorf("got %d and\n%s; want 1, and the signal for the only reason", code, out.String())
	}
}

func TestSecondSignalEndsTheProcessAtOnce(t *testing.T) {
	one := startWorker(t, "one")
	c, log, listen := startProcess(t, "--static-master="+one.l.Addr().String(), "--drain-grace=10m", "--drain-timeout=20m")
	dialProxy(t, listen).greetedBy(one)
	for range 2 {
		if err := c.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the drain", func() bool { return strings.Contains(log.String(), "drain started") })
	}
	if code := awaitExit(t, c); code != exitOK {
		t.Errorf("got %d; want 0\n%s", code, log)
	}
}

// TestListenerThatClosesIsToldOnce, whether a drain closes it or the end of the process.
func TestListenerThatClosesIsToldOnce(t *testing.T) {
	for grace, signals := range map[string]int{"0s": 1, "10m": 2} {
		c, log, _ := startProcess(t, "--static-master=127.0.0.1:1", "--drain-grace="+grace, "--drain-timeout=20m")
		for range signals {
			if err := c.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the drain", func() bool { return strings.Contains(log.String(), "drain started") })
		}
		awaitExit(t, c)
		told := 0
		for line := range strings.Lines(log.String()) {
			if strings.Contains(line, `"label":"default"`) && strings.Contains(line, `"listener closed"`) {
				told++
			}
		}
		if told != 1 {
			t.Errorf("grace %s: told %d times that the listener was closed; want once\n%s", grace, told, log)
		}
	}
}

func TestProcessOutlivesTheReaderOfItsLog(t *testing.T) {
	one := startWorker(t, "one")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "a")
	c := command(t, "--listen=127.0.0.1:0", "--admin-listen=unix:"+socket, "--static-master="+one.l.Addr().String(), "--drain-grace=0s")
	c.Stderr = w
	r.Close()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	eventually(t, "the admin socket", func() bool {
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := awaitExit(t, c); code != exitOK {
		t.Errorf("got %d; want 0", code)
	}
}

func TestBadUsageOfTheProcess(t *testing.T) {
	c := command(t, "--on-outage", "panic")
	var stderr bytes.Buffer
	c.Stderr = &stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if code := awaitExit(t, c); code != exitUsage {
		t.Errorf("got %d; want 2", code)
	}
	if want := "rosproxy: --on-outage \"panic\": not one of keep, fence\n"; stderr.String() != want {
		t.Errorf("got %q; want %q", stderr.String(), want)
	}
}
