package client

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// What a shell says of a command that it cannot run.
const (
	statusNotFound  = 127
	statusCannotRun = 126
	statusSignalled = 128 // and the signal
)

// pipesTime is how long what a command has left running may keep its output open,
// where that is no file.
const pipesTime = 5 * time.Second

// runningCommand is a command of the operator's. It has this process's terminal, and is of
// its process group: what its terminal sends it gets as well.
type runningCommand struct {
	cmd    *exec.Cmd
	failed int // the status of one that could not be started; 0: it runs
}

// findCommand fails, with the exit status of a shell, where a command is not there or
// cannot be run.
func findCommand(name string) (status int, err error) {
	if _, err := exec.LookPath(name); err != nil {
		return statusOf(err), fmt.Errorf("start the command: %w", err)
	}
	return exitDone, nil
}

func statusOf(err error) int {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return statusNotFound
	}
	return statusCannotRun
}

// startCommand starts a command; what it answers is to be awaited, also with an error.
func startCommand(args []string, stdout, stderr io.Writer) (*runningCommand, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, stdout, stderr
	cmd.WaitDelay = pipesTime
	if err := cmd.Start(); err != nil {
		return &runningCommand{failed: statusOf(err)}, fmt.Errorf("start the command: %w", err)
	}
	return &runningCommand{cmd: cmd}, nil
}

// forward sends the command a signal, unless it has ended.
func (r *runningCommand) forward(s os.Signal) {
	if r.failed == 0 {
		_ = r.cmd.Process.Signal(s) // when that fails it has ended
	}
}

// await returns its exit status when it has ended, that of a shell.
func (r *runningCommand) await() int {
	if r.failed != 0 {
		return r.failed
	}
	err := r.cmd.Wait()
	if s, ok := r.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return statusSignalled + int(s.Signal())
	}
	if code := r.cmd.ProcessState.ExitCode(); code != 0 {
		return code
	}
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) { // its output could not be written
		return exitNotDone
	}
	return exitDone
}
