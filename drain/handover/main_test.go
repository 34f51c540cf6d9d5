package handover

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

// roleEnv makes the test binary a successor.
const roleEnv = "HANDOVER_TEST_ROLE"

// How successors end that are not to go on, by exit status.
const (
	statusExits     = 3
	statusDies      = 4
	statusCalledOff = 5
	statusRefused   = 6 // what the predecessor said
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		os.Exit(successor(role))
	}
	goleak.VerifyTestMain(m)
}

// successor is a process that was handed a listening socket. Its role says what
// goes wrong with it; "serves" does what its clients ask for.
func successor(role string) int {
	if role == "exits" {
		return statusExits
	}
	if role == "deaf" {
		select {}
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
	if role == "fails" {
		p.Failed("colour: no such key")
		return statusExits
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
		return statusCalledOff
	case err != nil:
		return statusRefused
	case role == "dies":
		return statusDies
	case role == "hangs":
		select {}
	}
	l, err := net.FileListener(p.Sockets[0].File)
	if err != nil {
		fmt.Fprintln(os.Stderr, "listen:", err)
		return 1
	}
	switch err := p.Serving(context.Background()); {
	case errors.Is(err, ErrCalledOff):
		return statusCalledOff
	case err != nil:
		return statusRefused
	}
	return serve(p, l)
}

// serve does what each client asks for, in a line, and answers in one.
func serve(p *Predecessor, l net.Listener) int {
	for {
		c, err := l.Accept()
		if err != nil {
			return 1
		}
		command, _ := bufio.NewReader(c).ReadString('\n')
		switch strings.TrimSpace(command) {
		case "who":
			fmt.Fprintf(c, "%d %s %t %d\n", p.Generation, p.Sockets[0].Name, p.Sockets[0].Shared, p.PID)
		case "last socket":
			fmt.Fprintln(c, len(p.Sockets), p.Sockets[len(p.Sockets)-1].File.Name())
		case "sockets of a child":
			b, _ := exec.Command("sh", "-c", "ls -l /proc/self/fd | grep -c socket:").Output()
			fmt.Fprintf(c, "%s\n", strings.TrimSpace(string(b)))
		case "carried":
			b, ok := p.Carried()
			fmt.Fprintf(c, "%q %t\n", b, ok)
		case "question":
			b, err := p.Ask(context.Background(), []byte("from "+strconv.Itoa(p.Generation)))
			fmt.Fprintf(c, "%q %v %t\n", b, err, p.Unheard())
		case "long question":
			b, err := p.Ask(context.Background(), []byte(strings.Repeat("x", 1<<20)))
			fmt.Fprintf(c, "%d %v\n", len(b), err)
		case "hang up":
			p.Close()
			fmt.Fprintln(c, "ok")
		case "end in good order":
			p.Ending()
			return 0
		case "exit 0":
			return 0
		case "exit 4":
			return statusDies
		case "die":
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		case "hand over", "hand over and end":
			pid, err := handOver(p)
			fmt.Fprintln(c, pid, err)
			c.Close()
			if strings.HasSuffix(strings.TrimSpace(command), "and end") {
				return 0 // it has drained
			}
			return waitForSignal() // it drains
		}
		c.Close()
	}
}

func waitForSignal() int { select {} }

// handOver hands the socket on to a successor of a successor.
func handOver(p *Predecessor) (pid int, err error) {
	s, err := Start(Config{
		Path: os.Args[0], Args: os.Args[:1], Env: os.Environ(), Generation: p.Generation + 1, Sockets: p.Sockets, Predecessor: p,
		Answer: func(question []byte) []byte { return append([]byte("between: "), question...) },
	})
	if err != nil {
		return 0, err
	}
	if err := s.AwaitReady(context.Background()); err != nil {
		return 0, err
	}
	if err := s.TakeOver(context.Background()); err != nil {
		return 0, err
	}
	p.HandedOver()
	s.Released()
	return os.Getpid(), nil
}
