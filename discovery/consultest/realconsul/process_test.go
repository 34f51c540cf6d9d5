package realconsul

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestChildDiesWithACrashedTest(t *testing.T) {
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), crashEnv+"=1")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatalf("the parent said %q; want the child's id", line)
	}
	if !running(child) {
		t.Fatalf("child %d is not running", child)
	}
	parent.Process.Kill()
	parent.Wait()
	await(t, "the child is gone", func() bool { return !running(child) })
}

// The kernel counts the end of the thread that started the child as the
// parent's death; without LockOSThread in run this child may die.
func TestChildOutlivesTheThreadsOfOthers(t *testing.T) {
	p, err := startProcess(io.Discard, "sleep", "600")
	if err != nil {
		t.Fatal(err)
	}
	defer p.kill()
	var wg sync.WaitGroup
	gate := make(chan struct{})
	for range 64 {
		wg.Go(func() {
			runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
			<-gate
		})
	}
	close(gate)
	wg.Wait()
	select {
	case <-p.ended:
		t.Error("the child has ended; want it alive")
	case <-time.After(200 * time.Millisecond):
	}
}

func TestStartProcessNamesTheProgram(t *testing.T) {
	if _, err := startProcess(io.Discard, "/nonexistent/consul"); err == nil || !strings.Contains(err.Error(), "/nonexistent/consul") {
		t.Errorf("error: got %v; want one that names the program", err)
	}
}

func TestMissingBinaryFailsTheTestAndSaysHowToMakeIt(t *testing.T) {
	t.Setenv("ROSPROXY_TEST_CONSUL", "/nonexistent/consul")
	tb := &fatalTB{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		Binary(tb)
	}()
	<-done
	if !strings.Contains(tb.said, "make consul") || !strings.Contains(tb.said, "/nonexistent/consul") {
		t.Errorf("Fatalf: got %q; want the path and \"make consul\"", tb.said)
	}
}

// fatalTB records what it fails of instead of failing.
type fatalTB struct {
	testing.TB
	said string
}

func (f *fatalTB) Fatalf(format string, args ...any) {
	f.said = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// running reports whether a process is there and no zombie.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	return len(rest) > 0 && rest[0] != 'Z' && rest[0] != 'X'
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(pollTimeout); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in %v: %s", pollTimeout, what)
		}
	}
}
