package handover

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestWhyASuccessorFailedIsKnown(t *testing.T) {
	s, _ := begin(t, "fails")
	err := s.AwaitReady(soon(t))
	if !errors.Is(err, ErrGone) || !strings.Contains(err.Error(), "colour: no such key") {
		t.Errorf("got %v; want that it has gone, and its own reason", err)
	}
	if ended := s.CallOff(); !strings.Contains(ended, fmt.Sprint("exit status ", statusExits)) {
		t.Errorf("got %q; want its exit status", ended)
	}
}

func TestNobodyToTellOfAFailure(t *testing.T) {
	var p *Predecessor
	if p.Failed("reason") {
		t.Error("got a predecessor that was told; want none")
	}
}

// More than a variable of the environment can name.
func TestThousandsOfSocketsAreHandedOver(t *testing.T) {
	const count = 4096
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
	c := Config{Path: os.Args[0], Args: os.Args[:1], Env: append(os.Environ(), roleEnv+"=serves"), Generation: 7}
	for i := range count {
		c.Sockets = append(c.Sockets, Socket{Name: fmt.Sprintf("listen %0128d", i), File: file})
	}
	s, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-s.PID(), syscall.SIGKILL)
		s.CallOff()
	})
	takesOver(t, s)
	if got, want := ask(t, l.Addr().String(), "last socket"), fmt.Sprintf("%d listen %0128d", count, count-1); got != want {
		t.Errorf("got %q; want %q", got, want)
	}
}
