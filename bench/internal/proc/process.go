// Package proc runs processes that end with this one, and reads what they use.
package proc

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// Process is a running program, with the processes that it starts.
type Process struct {
	cmd   *exec.Cmd
	log   *os.File
	ended chan struct{} // closed when it has ended and was waited for
	pids  []int
}

// Options of a process.
type Options struct {
	Log  string              // file that its output goes to
	User *syscall.Credential // nil: who we are
	Env  []string            // added to our environment
}

// Start starts a program. The kernel kills it when we end.
func Start(o Options, name string, args ...string) (*Process, error) {
	log, err := os.OpenFile(o.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &Process{cmd: exec.Command(name, args...), log: log, ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Env = append(os.Environ(), o.Env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true, Credential: o.User}
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		log.Close()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// run keeps its thread until the process has ended: the kernel takes the end
// of the thread that started a process for our death.
func (p *Process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	_ = p.cmd.Wait() // how it ended is in its log
	close(p.ended)
}

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Stop kills the process and those that it started, and returns when it is gone.
func (p *Process) Stop() {
	select {
	case <-p.ended: // its id may be somebody else's by now
		p.log.Close()
		return
	default:
	}
	// It leads a group of its own; one that is gone already takes no signal.
	if err := syscall.Kill(-p.PID(), syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		_ = p.cmd.Process.Kill()
	}
	<-p.ended
	p.log.Close()
}

// Output is the end of what the process has written.
func (p *Process) Output() string {
	const most = 4 << 10
	b, err := os.ReadFile(p.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-most):])
}
