package main

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/drain/handover"
)

// TestClientWhoWokeThePredecessorAloneIsServed: of all that wait for a socket
// the kernel wakes one for each connection. That may be the predecessor, which
// does not accept any more; nobody then tells the successor of the client.
func TestClientWhoWokeThePredecessorAloneIsServed(t *testing.T) {
	one := startWorker(t, "one")
	file, address := socketOf(t)
	woken := awaitAlone(t, int(file.Fd())) // as the first: it is the one that is woken

	dir, err := os.MkdirTemp("", "rp") // short: a socket's path has a limit
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, installed)
	self, err := os.Executable()
	if err == nil {
		err = os.Symlink(self, path)
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := handover.Start(handover.Config{
		Path: path,
		Args: []string{
			path, "--listen=127.0.0.1:0", "--admin-listen=unix:" + dir + "/a", "--static-master=" + one.l.Addr().String(),
			"--shards=1", "--log-level=error", "--drain-timeout=0s",
		},
		Env:        append(os.Environ(), "RUNTIME_DIRECTORY="+dir),
		Generation: 2,
		Sockets:    []handover.Socket{{Name: "listen default", File: file}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*testTimeout)
	defer cancel()
	released := false
	defer func() {
		if !released {
			s.CallOff()
			return
		}
		_ = syscall.Kill(s.PID(), syscall.SIGKILL)
		if _, err := s.AwaitDeath(ctx); err != nil {
			t.Errorf("await the end of the successor: %v", err)
		}
	}()
	if err := s.AwaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.TakeOver(ctx); err != nil {
		t.Fatal(err)
	}
	client := dialProxy(t, address)
	select {
	case <-woken:
	case <-ctx.Done():
		t.Fatal("got the successor woken; want the predecessor, which waited first")
	}
	file.Close()
	s.Released()
	released = true
	client.greetedBy(one)
}

// awaitAlone waits for fd as an event loop does, and closes what it gives once
// it has been woken.
func awaitAlone(t *testing.T, fd int) <-chan struct{} {
	t.Helper()
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLEXCLUSIVE}); err != nil {
		t.Fatal(err)
	}
	woken, ended := make(chan struct{}), make(chan struct{})
	var stopped atomic.Bool
	go func() {
		defer close(ended)
		events := make([]unix.EpollEvent, 1)
		for !stopped.Load() {
			switch n, err := unix.EpollWait(epoll, events, int((100 * time.Millisecond).Milliseconds())); {
			case n > 0:
				_ = unix.Close(epoll)
				close(woken)
				return
			case err != nil && err != unix.EINTR:
				return
			}
		}
	}()
	t.Cleanup(func() { stopped.Store(true); <-ended })
	return woken
}

// A successor that is not a child of its predecessor, which therefore cannot
// end it, must not go on as if it had taken over.
func TestSuccessorThatIsCalledOffAfterItWasToldToTakeOverEnds(t *testing.T) {
	one := startWorker(t, "one")
	g := prepareGenerations(t)
	g.keepAs(".real")
	g.replace(`exec >"$0.log" 2>&1; setsid -f "$0.real" "$@"; sleep 1000`)
	g.log = g.path + ".log"
	file, address := socketOf(t)
	defer file.Close()
	c := g.command("--static-master=" + one.l.Addr().String())
	s, err := handover.Start(handover.Config{
		Path: c.Path, Args: c.Args, Env: c.Env, Generation: 2, Sockets: []handover.Socket{{Name: "listen default", File: file}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	err = s.AwaitReady(ctx)
	if err == nil {
		err = s.TakeOver(ctx)
	}
	if err == nil {
		dialProxy(t, address).greetedBy(one)
	}
	if ended := s.CallOff(); err != nil || ended != "signal: killed" {
		t.Fatalf("got %v, and the script ended with %s; want it killed when it serves", err, ended)
	}
	pid := int(g.awaitLine("starting")["pid"].(float64))
	g.awaitLine("not taking over")
	g.await("the end of the successor", func() bool { return !g.isOurs(pid) })
}
