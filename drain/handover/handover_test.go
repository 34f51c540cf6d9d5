package handover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// roleEnv makes the test binary a successor.
const roleEnv = "HANDOVER_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		os.Exit(successor(role))
	}
	goleak.VerifyTestMain(m)
}

// successor is a process that was handed a listening socket, which it greets on.
func successor(role string) int {
	if role == "exits" {
		return 3
	}
	p, env, err := Inherit(os.Environ())
	switch {
	case err != nil || p == nil:
		fmt.Fprintln(os.Stderr, "inherit:", err)
		return 1
	case slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, Variable+"=") }):
		fmt.Fprintln(os.Stderr, "the variable is still there")
		return 1
	}
	ready := func(ctx context.Context) error {
		if role == "never ready" {
			<-ctx.Done()
			return context.Cause(ctx)
		}
		return nil
	}
	switch err := p.Await(context.Background(), ready); {
	case errors.Is(err, ErrCalledOff):
		return 5
	case err != nil:
		fmt.Fprintln(os.Stderr, "await:", err)
		return 1
	}
	if role == "dies" {
		return 4
	}
	l, err := net.FileListener(p.Sockets[0].File)
	if err != nil {
		fmt.Fprintln(os.Stderr, "listen:", err)
		return 1
	}
	if role == "serves" {
		if err := p.Serving(context.Background()); err != nil {
			return 1
		}
	}
	p.Close()
	c, err := l.Accept()
	if err != nil {
		return 1
	}
	fmt.Fprintf(c, "%d %s %t %d\n", p.Generation, p.Sockets[0].Name, p.Sockets[0].Shared, p.PID)
	c.Close()
	return 0
}

// begin starts a successor, and gives the address of its socket.
func begin(t *testing.T, role string) (s *Successor, address string) {
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
		Path: os.Args[0], Args: os.Args[:1], Env: append(os.Environ(), roleEnv+"="+role, Variable+"=of before"),
		Generation: 7, Sockets: []Socket{{Name: "the socket", File: file, Shared: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.CallOff() })
	return s, l.Addr().String()
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func wantGreeting(t *testing.T, address string) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	b, err := io.ReadAll(c)
	if want := fmt.Sprintf("7 the socket true %d\n", os.Getpid()); err != nil || string(b) != want {
		t.Errorf("got %q, %v; want %q", b, err, want)
	}
}

func wantEnd(t *testing.T, s *Successor, want string) {
	t.Helper()
	select {
	case <-s.Ended():
	case <-time.After(patience):
		t.Fatalf("the successor did not end within %v", patience)
	}
	if got := s.cmd.ProcessState.String(); got != want {
		t.Errorf("end: got %s; want %s", got, want)
	}
}

func TestSuccessorServesOnTheSocketItWasGiven(t *testing.T) {
	s, address := begin(t, "serves")
	if err := s.AwaitReady(soon(t)); err != nil {
		t.Fatalf("await ready: %v", err)
	}
	if err := s.TakeOver(soon(t)); err != nil {
		t.Fatalf("take over: %v", err)
	}
	s.Released()
	wantGreeting(t, address)
	wantEnd(t, s, "exit status 0")
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

func TestSuccessorThatIsLateIsKilled(t *testing.T) {
	s, _ := begin(t, "never ready")
	late := errors.New("late")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, late)
	defer cancel()
	if err := s.AwaitReady(ctx); !errors.Is(err, late) {
		t.Errorf("await ready: got %v; want the cause", err)
	}
	// Killed, or quicker than the signal.
	if got := s.CallOff(); got != "signal: killed" && got != "exit status 5" {
		t.Errorf("got %s; want it killed", got)
	}
}

func TestSuccessorTakesOverWhenItsPredecessorIsGoneReadyOrNot(t *testing.T) {
	s, address := begin(t, "never ready")
	s.line.close() // as the end of the predecessor would
	wantGreeting(t, address)
	wantEnd(t, s, "exit status 0")
}

func TestSuccessorThatIsNotOurChildEndsWhenCalledOff(t *testing.T) {
	s, _ := begin(t, "never ready")
	if err := s.line.say(wordCallOff); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, s, "exit status 5")
}

func TestProgramThatCannotBeStartedIsAnError(t *testing.T) {
	_, err := Start(Config{Path: "/does/not/exist", Args: []string{"x"}, Generation: 2})
	if err == nil || !strings.Contains(err.Error(), "/does/not/exist") {
		t.Errorf("got %v; want an error that names the program", err)
	}
}

func TestProcessWithoutTheVariableIsNoSuccessor(t *testing.T) {
	p, env, err := Inherit([]string{"A=1", "B=2"})
	if p != nil || err != nil || len(env) != 2 {
		t.Errorf("got %v, %v, %v; want nobody and the environment", p, env, err)
	}
}

func TestVariableThatIsWrongIsAnError(t *testing.T) {
	good := letter{Protocol: protocol, PID: 1, Generation: 2}
	for name, text := range map[string]string{
		"empty":              "",
		"no JSON":            "x",
		"another protocol":   strings.Replace(good.String(), `"protocol":1`, `"protocol":2`, 1),
		"no pid":             strings.Replace(good.String(), `"pid":1`, `"pid":0`, 1),
		"first generation":   strings.Replace(good.String(), `"generation":2`, `"generation":1`, 1),
		"too long":           good.String() + strings.Repeat(" ", mostLetter),
		"too many sockets":   letter{Protocol: protocol, PID: 1, Generation: 2, Sockets: make([]letterSocket, mostSockets+1)}.String(),
		"descriptors not of": letter{Protocol: protocol, PID: 1, Generation: 2, Sockets: make([]letterSocket, mostSockets)}.String(),
	} {
		p, _, err := Inherit([]string{Variable + "=" + text})
		if err == nil || p != nil || !strings.Contains(err.Error(), Variable) {
			t.Errorf("%s: got %v, %v; want an error that names the variable", name, p, err)
		}
	}
}

func FuzzLetter(f *testing.F) {
	f.Add(letter{Protocol: protocol, PID: 1, Generation: 2, Sockets: []letterSocket{{Name: "admin", Shared: true}}}.String())
	f.Add(`{"protocol":1,"pid":-1}`)
	f.Add(`[]`)
	f.Fuzz(func(t *testing.T, text string) {
		l, err := parseLetter(text)
		if err != nil {
			return
		}
		if l.Generation < 2 || l.PID < 1 || len(l.Sockets) > mostSockets {
			t.Errorf("got %+v; want an error", l)
		}
		again, err := parseLetter(l.String())
		if err != nil || again.String() != l.String() {
			t.Errorf("got %v, %v; want it to be read as written, %v", again, err, l)
		}
	})
}
