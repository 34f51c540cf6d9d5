// Package netnstest has network namespaces for tests.
package netnstest

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Namespace is a network namespace without a name. It is gone when the test has
// ended and no process or socket is left in it.
type Namespace struct{ file *os.File }

// New makes a namespace, which takes root.
func New(t testing.TB) *Namespace {
	t.Helper()
	var file *os.File
	err := onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return os.NewSyscallError("unshare", err)
		}
		var err error
		file, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	t.Cleanup(func() { file.Close() })
	return &Namespace{file}
}

// FD is the descriptor that names the namespace, as setns(2) takes it.
func (n *Namespace) FD() int { return int(n.file.Fd()) }

// Do calls f in the namespace: a socket that f makes and a process that it
// starts belong there for good, whoever uses them later.
func (n *Namespace) Do(f func() error) error {
	return onOwnThread(func() error {
		if err := unix.Setns(n.FD(), unix.CLONE_NEWNET); err != nil {
			return os.NewSyscallError("setns", err)
		}
		return f()
	})
}

// IP runs commands of ip(8), iproute2's, in the namespace.
func (n *Namespace) IP(t testing.TB, commands ...string) {
	t.Helper()
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	var out []byte
	err := n.Do(func() error {
		var err error
		out, err = cmd.CombinedOutput()
		return err
	})
	if err != nil {
		t.Fatalf("ip %q: %v\n%s", commands, err, out)
	}
}

// onOwnThread calls f on a thread that ends with it: one that has been in
// another namespace must not go back to Go's scheduler.
func onOwnThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked, which ends the thread
		done <- f()
	}()
	return <-done
}
