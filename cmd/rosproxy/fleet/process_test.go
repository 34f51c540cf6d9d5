package fleet_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// asMinder makes the test binary the minder of a process: TestMain.
const asMinder = "FLEET_TEST_AS_MINDER"

// process is a program that runs on a host below a minder. What it starts in
// its place, and leaves behind, is the minder's too.
type process struct {
	t      *testing.T
	minder *exec.Cmd
	pid    int    // of the first
	log    string // file with what all of them said

	mu    sync.Mutex
	ended map[int]syscall.WaitStatus // by pid
	empty chan struct{}              // closed when none is left
}

// start starts a program on the host. It is ended with the test.
func (h *host) start(t *testing.T, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, ended: map[int]syscall.WaitStatus{}, empty: make(chan struct{})}
	p.log = filepath.Join(t.TempDir(), name+".log")
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	reports, report, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer report.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p.minder = exec.Command(self, args...)
	p.minder.Env = append(cleanEnv(), asMinder+"=1")
	p.minder.Stdout, p.minder.Stderr = log, log
	p.minder.ExtraFiles = []*os.File{report}
	p.minder.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the test
	hold, err := p.minder.StdinPipe()
	if err == nil {
		err = h.do(p.minder.Start)
	}
	if err != nil {
		t.Fatalf("start %s on %s: %v", name, h.name, err)
	}
	t.Cleanup(func() { p.stop(hold) })
	lines := bufio.NewScanner(reports)
	if lines.Scan() {
		_, err = fmt.Sscanf(lines.Text(), "started %d", &p.pid)
	}
	go p.follow(lines, reports)
	if err != nil || p.pid == 0 {
		t.Fatalf("start %s on %s: got %q, %v; want its pid\n%s", name, h.name, lines.Text(), err, p.output())
	}
	return p
}

// follow notes which process ended how.
func (p *process) follow(lines *bufio.Scanner, from io.Closer) {
	defer close(p.empty)
	defer from.Close()
	for lines.Scan() {
		var pid, status int
		if _, err := fmt.Sscanf(lines.Text(), "ended %d %d", &pid, &status); err == nil {
			p.mu.Lock()
			p.ended[pid] = syscall.WaitStatus(status)
			p.mu.Unlock()
		}
	}
}

// stop kills what is left, and returns when it is gone.
func (p *process) stop(hold io.Closer) {
	hold.Close()
	_ = p.minder.Wait() // it has nothing to say
	<-p.empty
	if p.t.Failed() {
		p.t.Logf("end of %s, without connections:\n%s", filepath.Base(p.log), tail(withoutConnections(p.output()), 6<<10))
	}
}

// status tells how the process pid has ended, if it has.
func (p *process) status(pid int) (syscall.WaitStatus, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, ok := p.ended[pid]
	return s, ok
}

// all tells how every process that has ended did.
func (p *process) all() map[int]syscall.WaitStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.ended)
}

// mustRun ends the test when the first process has ended.
func (p *process) mustRun() {
	p.t.Helper()
	if s, ended := p.status(p.pid); ended {
		p.t.Fatalf("%s ended with %s; want it running:\n%s", filepath.Base(p.log), describe(s), tail(p.output(), 6<<10))
	}
}

func describe(s syscall.WaitStatus) string {
	if s.Signaled() {
		return s.Signal().String()
	}
	return fmt.Sprintf("exit status %d", s.ExitStatus())
}

func (p *process) output() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// withoutConnections leaves out the lines of single connections: a test that
// fails shows those that matter.
func withoutConnections(log string) string {
	if _, rest, ok := strings.Cut(log, "Log data will now stream in"); ok {
		log = rest // Consul's, without its banner
	}
	var text strings.Builder
	for l := range strings.Lines(log) {
		if !strings.Contains(l, `"message":"connection closed"`) {
			text.WriteString(l)
		}
	}
	return text.String()
}

// tail is the end of text, from the beginning of a line on.
func tail(text string, most int) string {
	if len(text) <= most {
		return text
	}
	_, text, _ = strings.Cut(text[len(text)-most:], "\n")
	return "...\n" + text
}

// cleanEnv is our environment without what would configure the programs.
func cleanEnv() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "CONSUL_") && !strings.HasPrefix(e, "ROSPROXY_") && !strings.HasPrefix(e, "NOTIFY_") && !strings.HasPrefix(e, "LISTEN_") {
			env = append(env, e)
		}
	}
	return env
}

// mind is the minder: it starts the program, adopts what that leaves behind,
// says on descriptor 3 who ended how, and ends when none is left. When its
// standard input ends, which the end of the test does, it kills them all.
func mind(args []string) int {
	report := os.NewFile(3, "report")
	unix.CloseOnExec(3)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "minder:", err)
		return 1
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		fmt.Fprintln(os.Stderr, "minder:", err)
		return 1
	}
	_ = os.Unsetenv(asMinder)
	env := append(os.Environ(), "GOMAXPROCS=2")
	pid, err := syscall.ForkExec(args[0], args, &syscall.ProcAttr{Env: env, Files: []uintptr{null.Fd(), 1, 2}})
	if err != nil {
		fmt.Fprintf(os.Stderr, "minder: start %s: %v\n", args[0], err)
		return 1
	}
	fmt.Fprintln(report, "started", pid)
	go killAtEndOf(os.Stdin)
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil: // ECHILD: none left
			return 0
		default:
			fmt.Fprintln(report, "ended", pid, int(status))
		}
	}
}

// killAtEndOf kills the children, and those that their end makes ours, until
// mind finds none.
func killAtEndOf(in io.Reader) {
	_, _ = io.Copy(io.Discard, in)
	for ; ; time.Sleep(5 * time.Millisecond) {
		stats, err := filepath.Glob("/proc/[0-9]*/stat")
		if err != nil {
			return
		}
		for _, stat := range stats {
			if pid, parent := parentage(stat); parent == os.Getpid() {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
}

// parentage reads a stat file of proc(5).
func parentage(stat string) (pid, parent int) {
	text, _ := os.ReadFile(stat) // a process that has ended has none
	name := bytes.LastIndexByte(text, ')')
	if name < 0 {
		return 0, 0
	}
	var state string
	if _, err := fmt.Sscan(string(text[name+1:]), &state, &parent); err != nil {
		return 0, 0
	}
	if _, err := fmt.Sscan(string(text), &pid); err != nil {
		return 0, 0
	}
	return pid, parent
}
