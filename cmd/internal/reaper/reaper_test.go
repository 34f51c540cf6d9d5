package reaper

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// asParent makes the test binary a process that starts a family and waits to be killed.
const asParent = "MINDER_TEST_AS_PARENT"

func TestMain(m *testing.M) {
	Main()
	if log := os.Getenv(asParent); log != "" {
		f, err := os.Create(log)
		if err == nil {
			_, err = Start(Command{Args: family, Log: f})
		}
		fmt.Println("started", err)
		select {}
	}
	goleak.VerifyTestMain(m)
}

// family is a program that leaves its child to whoever adopts it when it is
// killed; it says the child's pid.
var family = []string{"/bin/sh", "-c", "sleep 600 & echo $!; wait"}

// startFamily starts it, and returns the child's pid.
func startFamily(t *testing.T) (p *Process, child int) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if p, err = Start(Command{Args: family, Log: log}); err != nil {
		t.Fatal(err)
	}
	return p, readPID(t, log.Name())
}

func readPID(t *testing.T, file string) (pid int) {
	t.Helper()
	eventually(t, "the child's pid", func() bool {
		b, _ := os.ReadFile(file)
		n, err := strconv.Atoi(strings.TrimSpace(string(b)))
		pid = n
		return err == nil && strings.HasSuffix(string(b), "\n")
	})
	return pid
}

func TestKillLeavesWhatTheProgramHasStartedAndCloseDoesNot(t *testing.T) {
	p, child := startFamily(t)
	if err := p.Kill(); err != nil {
		t.Error(err)
	}
	if s, ended := p.Status(p.PID); !ended || s.Signal() != syscall.SIGKILL {
		t.Errorf("the program: got %v, %v; want it killed", s, ended)
	}
	if state(child) == 0 {
		t.Error("the child has ended with the program; want it running")
	}
	select {
	case <-p.Empty():
		t.Error("empty while the child runs")
	default:
	}
	p.Close()
	if state(child) != 0 {
		t.Errorf("the child %d is there after Close", child)
	}
	if s, ended := p.Ended()[child]; !ended || s.Signal() != syscall.SIGKILL {
		t.Errorf("the child: got %v, %v; want it killed", s, ended)
	}
}

func TestFrozenFamilyStandsStillUntilItIsThawed(t *testing.T) {
	p, child := startFamily(t)
	defer p.Close() // which also ends what is frozen
	if err := p.Freeze(); err != nil {
		t.Fatal(err)
	}
	if program, c := state(p.PID), state(child); program != 'T' || c != 'T' {
		t.Errorf("states of program and child: got %c and %c; want T", program, c)
	}
	if err := p.Thaw(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both to go on", func() bool { return state(p.PID) == 'S' && state(child) == 'S' })
	if err := p.Freeze(); err != nil {
		t.Fatal(err)
	}
}

func TestFamilyDiesWithAProcessThatIsKilled(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), asParent+"="+log)
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	said, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || said != "started <nil>\n" {
		t.Errorf("the parent said %q, %v; want that it started the family", said, err)
	}
	child := readPID(t, log)
	parent.Process.Kill()
	parent.Wait()
	eventually(t, "the child to be gone", func() bool { return state(child) == 0 })
}

func TestProgramThatIsNotThereIsSaid(t *testing.T) {
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if _, err := Start(Command{Args: []string{"/nonexistent/x"}, Log: log}); err == nil || !strings.Contains(err.Error(), "/nonexistent/x") {
		t.Errorf("got %v; want an error that names the program", err)
	}
	if b, err := os.ReadFile(log.Name()); err != nil || !strings.Contains(string(b), "no such file") {
		t.Errorf("log: got %q, %v; want the reason", b, err)
	}
}

func TestProgramRunsAsWhomItIsTold(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	const nobody = 65534
	p, err := Start(Command{Args: []string{"/usr/bin/id", "-u"}, Dir: "/", As: &syscall.Credential{Uid: nobody, Gid: nobody}, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if got := readPID(t, log.Name()); got != nobody {
		t.Errorf("user: got %d; want %d", got, nobody)
	}
}

func TestNameOfAProcessMayHaveAnyCharacter(t *testing.T) {
	if e, ok := parseStat("12 (a) S 1) T 7 12"); !ok || e != (entry{pid: 12, parent: 7, state: 'T'}) {
		t.Errorf("got %+v, %v; want pid 12 below 7, stopped", e, ok)
	}
	for _, text := range []string{"", "12 (a", "12 (a)", "x (a) S 1"} {
		if e, ok := parseStat(text); ok {
			t.Errorf("%q: got %+v; want none", text, e)
		}
	}
}

// state is that of a process; 0: it is gone, or a zombie.
func state(pid int) byte {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	e, ok := parseStat(string(b))
	if !ok || e.state == 'Z' {
		return 0
	}
	return e.state
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	const most = 20 * time.Second
	for deadline := time.Now().Add(most); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for: %s", most, what)
		}
	}
}
