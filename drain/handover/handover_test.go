package handover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// testTimeout is how long a test waits for what must happen.
const testTimeout = 20 * time.Second

// begin starts a successor that is given a listening socket, which nobody else has then.
func begin(t *testing.T, role string) (s *Successor, address string) {
	t.Helper()
	return beginProgram(t, role, os.Args[0])
}

// beginScript starts a shell script as a successor; $SELF is the test binary.
func beginScript(t *testing.T, role, script string) (s *Successor, address string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SELF", os.Args[0])
	return beginProgram(t, role, path)
}

func beginProgram(t *testing.T, role, path string) (s *Successor, address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	s, err = Start(Config{
		Path: path, Args: []string{path}, Env: append(os.Environ(), roleEnv+"="+role, Variable+"=of before"),
		Generation: 7, Sockets: []Socket{{Name: "the socket", File: file, Shared: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-s.PID(), syscall.SIGKILL)
		s.CallOff()
	})
	return s, l.Addr().String()
}

// takesOver has s serve.
func takesOver(t *testing.T, s *Successor) {
	t.Helper()
	if err := s.AwaitReady(soon(t)); err != nil {
		t.Fatalf("await ready: %v", err)
	}
	if err := s.TakeOver(soon(t)); err != nil {
		t.Fatalf("take over: %v", err)
	}
	s.Released()
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

// ask has a successor do something, and gives what it answers.
func ask(t *testing.T, address, command string) string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(testTimeout))
	fmt.Fprintln(c, command)
	b, _ := io.ReadAll(c) // one that was told to end resets it
	return strings.TrimSpace(string(b))
}

func wantServing(t *testing.T, address string) {
	t.Helper()
	if got, want := ask(t, address, "who"), fmt.Sprintf("7 the socket true %d", os.Getpid()); got != want {
		t.Errorf("got %q; want %q", got, want)
	}
}

// wantClosed wants that no process has the listening socket.
func wantClosed(t *testing.T, address string) {
	t.Helper()
	for deadline := time.Now().Add(testTimeout); ; time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
		if err == nil {
			c.Close()
		}
		if time.Now().After(deadline) {
			t.Fatalf("dial: got %v; want it refused: somebody has the socket", err)
		}
	}
}

func wantEnd(t *testing.T, s *Successor, want string) {
	t.Helper()
	select {
	case <-s.exited:
	case <-time.After(testTimeout):
		t.Fatalf("the successor did not end within %v", testTimeout)
	}
	if got := s.CallOff(); got != want {
		t.Errorf("end: got %s; want %s", got, want)
	}
}

func TestSuccessorServesOnTheSocketItWasGiven(t *testing.T) {
	s, address := begin(t, "serves")
	takesOver(t, s)
	wantServing(t, address)
}

func TestSuccessorThatExitsIsGone(t *testing.T) {
	s, _ := begin(t, "exits")
	if err := s.AwaitReady(soon(t)); !errors.Is(err, ErrGone) {
		t.Errorf("await ready: got %v; want ErrGone", err)
	}
	if got := s.CallOff(); got != "exit status 3" {
		t.Errorf("got %s; want exit status 3", got)
	}
}

func TestSuccessorThatDiesWhenToldToTakeOverIsGone(t *testing.T) {
	s, _ := begin(t, "dies")
	if err := s.AwaitReady(soon(t)); err != nil {
		t.Fatalf("await ready: %v", err)
	}
	if err := s.TakeOver(soon(t)); !errors.Is(err, ErrGone) {
		t.Errorf("take over: got %v; want ErrGone", err)
	}
	if got := s.CallOff(); got != "exit status 4" {
		t.Errorf("got %s; want exit status 4", got)
	}
}

var errLate = errors.New("late")

func late(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errLate)
	t.Cleanup(cancel)
	return ctx
}

func TestSuccessorThatIsNeverReadyIsKilled(t *testing.T) {
	for _, role := range []string{"never ready", "deaf"} {
		s, address := begin(t, role)
		if err := s.AwaitReady(late(t)); !errors.Is(err, errLate) {
			t.Errorf("%s: await ready: got %v; want the cause", role, err)
		}
		if got := s.CallOff(); got != "signal: killed" {
			t.Errorf("%s: got %s; want it killed", role, got)
		}
		wantClosed(t, address)
	}
}

func TestSuccessorThatHangsWhenToldToTakeOverIsKilled(t *testing.T) {
	s, address := begin(t, "hangs")
	if err := s.AwaitReady(soon(t)); err != nil {
		t.Fatalf("await ready: %v", err)
	}
	if err := s.TakeOver(late(t)); !errors.Is(err, errLate) {
		t.Errorf("take over: got %v; want the cause", err)
	}
	if got := s.CallOff(); got != "signal: killed" {
		t.Errorf("got %s; want it killed", got)
	}
	wantClosed(t, address)
}

func TestSuccessorThatIsStoppedIsKilled(t *testing.T) {
	s, address := begin(t, "serves")
	if err := s.AwaitReady(soon(t)); err != nil {
		t.Fatalf("await ready: %v", err)
	}
	stop(t, s.PID())
	if err := s.TakeOver(late(t)); !errors.Is(err, errLate) {
		t.Errorf("take over: got %v; want the cause", err)
	}
	if got := s.CallOff(); got != "signal: killed" {
		t.Errorf("got %s; want it killed", got)
	}
	wantClosed(t, address)
}

// stop stops a process, and returns when it stands still.
func stop(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(testTimeout); ; time.Sleep(time.Millisecond) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			t.Fatal(err)
		}
		if _, after, _ := strings.Cut(string(b), ") "); strings.HasPrefix(after, "T") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d was not stopped within %v", pid, testTimeout)
		}
	}
}

func TestWhatASuccessorHasStartedEndsWithIt(t *testing.T) {
	for name, c := range map[string]struct{ script, ended string }{
		"a script that waits for a child":        {"sleep 1000; exit 0", "signal: killed"},
		"a script that has left a child behind":  {"sleep 1000 & exit 0", "exit status 0"},
		"a script around a program that is deaf": {`"$SELF"; exit 0`, "signal: killed"},
	} {
		t.Run(name, func(t *testing.T) {
			s, address := beginScript(t, "deaf", c.script)
			if err := s.AwaitReady(late(t)); !errors.Is(err, errLate) {
				t.Errorf("await ready: got %v; want the cause", err)
			}
			if c.ended != "signal: killed" {
				<-s.exited
				select {
				case <-s.ended:
					t.Error("it was reaped: by now its process group's id could be somebody else's")
				case <-time.After(50 * time.Millisecond):
				}
			}
			if got := s.CallOff(); got != c.ended {
				t.Errorf("got %s; want %s", got, c.ended)
			}
			wantClosed(t, address)
		})
	}
}

func TestSuccessorThatLeftItsProcessGroupEndsWhenCalledOff(t *testing.T) {
	// It must not take the end of the connection for that of its predecessor.
	s, address := beginScript(t, "serves", `setsid -f "$SELF"; sleep 1000`)
	if err := s.AwaitReady(soon(t)); err != nil {
		t.Fatalf("await ready: %v", err)
	}
	if got := s.CallOff(); got != "signal: killed" {
		t.Errorf("got %s; want the script killed", got)
	}
	wantClosed(t, address)
}

func TestSuccessorTakesOverWhenItsPredecessorIsGoneReadyOrNot(t *testing.T) {
	s, address := begin(t, "never ready")
	s.conn.close() // as the end of the predecessor would
	wantServing(t, address)
}

func TestSuccessorThatIsCalledOffEndsWhateverItDoes(t *testing.T) {
	for _, role := range []string{"never ready", "serves"} {
		s, _ := begin(t, role)
		if role == "serves" {
			if err := s.AwaitReady(soon(t)); err != nil {
				t.Fatalf("await ready: %v", err)
			}
			if err := s.TakeOver(soon(t)); err != nil {
				t.Fatalf("take over: %v", err)
			}
		}
		if err := s.conn.send(messageCallOff); err != nil { // and it is not killed
			t.Fatal(err)
		}
		wantEnd(t, s, "exit status 5")
	}
}

func TestSuccessorThatIsToldToTakeOverBeforeItIsReadyRefuses(t *testing.T) {
	s, _ := begin(t, "never ready")
	if err := s.conn.send(messageTakeOver); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, s, "exit status 6")
}

func TestProcessesThatASuccessorStartsInheritNothing(t *testing.T) {
	s, address := begin(t, "serves")
	takesOver(t, s)
	if got := ask(t, address, "sockets of a child"); got != "0" {
		t.Errorf("sockets of a child: got %s; want none", got)
	}
}

func TestProgramThatCannotBeStartedIsAnError(t *testing.T) {
	_, err := Start(Config{Path: "/does/not/exist", Args: []string{"x"}, Generation: 2})
	if err == nil || !strings.Contains(err.Error(), "/does/not/exist") {
		t.Errorf("got %v; want an error that names the program", err)
	}
}

func dialOrNil(address string) net.Conn {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return nil
	}
	return c
}
