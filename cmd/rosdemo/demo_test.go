package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rosproxy/rosproxy/discovery/consultest"
	"github.com/rosproxy/rosproxy/discovery/consultest/realconsul"
)

// programs is the directory of the built programs; see TestMain.
var programs string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "rosdemo-test-")
	if err == nil {
		programs = dir
		build := exec.Command("go", "build", "-o", dir, "../rosproxy", "../syncworker", ".")
		build.Stderr = os.Stderr
		err = build.Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "build the demo's programs:", err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// showDemo runs the demo and returns what it printed, and its exit status.
func showDemo(t *testing.T, env []string, args ...string) (out string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(programs, "rosdemo"), args...)
	cmd.Env = append(childEnv("CONSUL_"), env...)
	cmd.Dir = t.TempDir() // no bin there
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	b, err := cmd.CombinedOutput()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		t.Fatalf("run the demo: %v", err)
	}
	return string(b), cmd.ProcessState.ExitCode()
}

// sum reads a line of the summary.
func sum(t *testing.T, out, name string) int {
	t.Helper()
	m := regexp.MustCompile(regexp.QuoteMeta(name) + ` +([0-9,]+)`).FindStringSubmatch(out)
	if m == nil {
		t.Errorf("summary has no line %q", name)
		return -1
	}
	n, _ := strconv.Atoi(strings.ReplaceAll(m[1], ",", ""))
	return n
}

// wantPassed wants a demo that showed everything and passed.
func wantPassed(t *testing.T, out string, status int) {
	t.Helper()
	if status != 0 {
		t.Errorf("exit status got %d; want 0", status)
	}
	for _, name := range []string{"acknowledged records lost", "stale connections", "broken by the upgrade"} {
		if got := sum(t, out, name); got != 0 {
			t.Errorf("%s: got %d; want 0", name, got)
		}
	}
	for _, name := range []string{"records acknowledged", "connections cut", "connections died"} {
		if got := sum(t, out, name); got <= 0 {
			t.Errorf("%s: got %d; want some", name, got)
		}
	}
	if strings.Contains(out, "\x1b") {
		t.Error("the output has escape sequences, and is not for a terminal")
	}
	wantInOrder(t, out, "SIGKILL", "detected", "elected", "cut ", "fenced    both instances have let go", "served", "registers as spare",
		"SIGSTOP", "detected", "elected", "cut ", "fenced    both instances have let go", "served", "SIGCONT", "POST /drain", "exits with status 0", "PASSED")
	if t.Failed() {
		t.Log(out)
	}
}

func TestDemoPassesWithTheDouble(t *testing.T) {
	t.Parallel()
	out, status := showDemo(t, []string{"PATH=/nonexistent"})
	if want := "the in-memory double (CONSUL_HTTP_ADDR is not set, and no consul is on PATH or in bin)"; !strings.Contains(out, want) {
		t.Errorf("the demo does not say %q", want)
	}
	wantPassed(t, out, status)
}

func TestDemoPassesWithAConsulOnPath(t *testing.T) {
	t.Parallel()
	binary, err := filepath.Abs(realconsul.Binary(t))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(binary, filepath.Join(dir, "consul")); err != nil {
		t.Fatal(err)
	}
	out, status := showDemo(t, []string{"PATH=" + dir})
	if want := "a dev agent of " + filepath.Join(dir, "consul"); !strings.Contains(out, want) {
		t.Errorf("the demo does not say %q", want)
	}
	wantPassed(t, out, status)
}

func TestDemoLeavesAnExistingConsulAsItWas(t *testing.T) {
	t.Parallel()
	s := consultest.NewServer()
	defer s.Close()
	out, status := showDemo(t, []string{"CONSUL_HTTP_ADDR=" + s.Addr})
	if want := "CONSUL_HTTP_ADDR=" + s.Addr; !strings.Contains(out, want) {
		t.Errorf("the demo does not say %q", want)
	}
	wantPassed(t, out, status)
	services, err := s.Client().Agent().Services()
	if err != nil {
		t.Fatal(err)
	}
	keys, _, err := s.Client().KV().Keys("", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	sessions, _, err := s.Client().Session().List(nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(services)+len(keys)+len(sessions) != 0 {
		t.Errorf("left behind: services %v, keys %v, sessions %v; want none", services, keys, sessions)
	}
}

func TestDemoGivesUpAtItsDeadlineAndLeavesNoProcess(t *testing.T) {
	t.Parallel()
	out, status := showDemo(t, []string{"PATH=/nonexistent"}, "--deadline=4s")
	if status != 1 || !strings.Contains(out, "gave up after 4s") {
		t.Errorf("exit status got %d, output\n%s\nwant 1, and why", status, out)
	}
	if _, err := os.Stat(filepath.Join(logsOf(t, out), "worker-1.log")); err != nil {
		t.Errorf("log of worker 1: %v", err)
	}
	for _, p := range running(t) {
		t.Errorf("left running: %s", p)
	}
}

// logsOf is where a demo that failed says that its logs are. They are removed with the test.
func logsOf(t *testing.T, out string) (dir string) {
	t.Helper()
	m := regexp.MustCompile(`logs of all processes are in (\S+)\.\n`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("the demo does not say where its logs are:\n%s", out)
	}
	t.Cleanup(func() { os.RemoveAll(m[1]) })
	return m[1]
}

// running lists the processes of the built programs that have the log
// directory of nobody: children whose demo is gone have init as their parent.
func running(t *testing.T) []string {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, dir := range dirs {
		exe, err := os.Readlink(filepath.Join(dir, "exe"))
		if err != nil || filepath.Dir(exe) != programs || filepath.Base(exe) == "rosdemo" {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue
		}
		if f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:])); f[1] == "1" {
			left = append(left, dir+" "+exe)
		}
	}
	return left
}

func TestBadUsageNamesFlagAndValue(t *testing.T) {
	for _, args := range [][]string{{"--clients=0"}, {"--clients=x"}, {"--deadline=-1s"}, {"--nonesuch"}, {"surplus"}, {"patroni", "--clients=0"}, {"patroni", "surplus"}} {
		if out, status := showDemo(t, nil, args...); status != 2 {
			t.Errorf("%v: exit status got %d, %s; want 2", args, status, out)
		}
	}
}

func TestMissingConsulBinaryIsSaid(t *testing.T) {
	out, status := showDemo(t, nil, "--consul=/nonexistent/consul")
	if status != 1 || !strings.Contains(out, "/nonexistent/consul") {
		t.Errorf("exit status got %d, output\n%s\nwant 1 and the path", status, out)
	}
	logsOf(t, out)
}

func TestDemoEndsInOrderWithItsTerminal(t *testing.T) {
	cmd := exec.Command(filepath.Join(programs, "rosdemo"))
	cmd.Env = append(childEnv("CONSUL_"), "PATH=/nonexistent")
	cmd.Dir = t.TempDir()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	shown := bufio.NewScanner(out)
	var all strings.Builder
	for shown.Scan() {
		fmt.Fprintln(&all, shown.Text())
		if strings.HasPrefix(shown.Text(), "Consul: ") {
			cmd.Process.Signal(syscall.SIGHUP)
		}
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 1 || !strings.Contains(said.String(), "interrupted") {
		t.Errorf("got %v, %q; want exit status 1, and that it was interrupted", err, said.String())
	}
	logsOf(t, all.String())
}
