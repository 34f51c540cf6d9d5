// Package reaper runs a program below a process of its own, its reaper (a child
// subreaper, see prctl(2)), which adopts whatever the program leaves behind and
// kills all of it when the process that started it closes it or ends, however
// that ends.
//
// The reaper is the running executable once more: its main function, or its
// TestMain, must begin with Main.
package reaper

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Environment variables of a reaper.
const (
	asReaper = "ROSPROXY_AS_REAPER"
	asUser   = "ROSPROXY_REAPER_USER" // UID:GID of its program
)

// Main makes the process the reaper that it was started as, and never returns
// from that; in any other process it does nothing.
func Main() {
	if os.Getenv(asReaper) != "" {
		os.Exit(reap(os.Args[1:]))
	}
}

// reap starts the program, adopts what that leaves behind, says on descriptor 3
// who ended how, and ends when none is left. When its standard input ends,
// which the end of the process that started it does, it kills them all.
func reap(args []string) int {
	report := os.NewFile(3, "report")
	unix.CloseOnExec(3)
	pid, err := adopt(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "reaper:", err)
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

// adopt makes the process the parent of all below it that lose theirs, and
// starts the program.
func adopt(args []string) (pid int, err error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 0, fmt.Errorf("become a subreaper: %w", err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	attr := &syscall.ProcAttr{Files: []uintptr{null.Fd(), 1, 2}}
	if user := os.Getenv(asUser); user != "" {
		c := &syscall.Credential{}
		if _, err := fmt.Sscanf(user, "%d:%d", &c.Uid, &c.Gid); err != nil {
			return 0, fmt.Errorf("read %s=%s: %w", asUser, user, err)
		}
		attr.Sys = &syscall.SysProcAttr{Credential: c}
	}
	_ = os.Unsetenv(asReaper)
	_ = os.Unsetenv(asUser)
	attr.Env = os.Environ()
	if pid, err = syscall.ForkExec(args[0], args, attr); err != nil {
		return 0, fmt.Errorf("start %s: %w", args[0], err)
	}
	return pid, nil
}

// killAtEndOf kills the children, and those that their end makes ours, until
// mind finds none.
func killAtEndOf(in io.Reader) {
	_, _ = io.Copy(io.Discard, in)
	for ; ; time.Sleep(5 * time.Millisecond) {
		for _, p := range processes() {
			if p.parent == os.Getpid() {
				_ = syscall.Kill(p.pid, syscall.SIGKILL)
			}
		}
	}
}
