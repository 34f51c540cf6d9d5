package reaper

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Command is what to run.
type Command struct {
	Args []string            // the program's path first
	Env  []string            // nil: that of this process
	Dir  string              // empty: that of this process
	As   *syscall.Credential // whom the program runs as; nil: whom this process runs as
	Log  *os.File            // what all of them write; may be closed when Start has returned
}

// Process is a program below a reaper, and what that has started and left behind.
type Process struct {
	PID int // of the program

	reaper *exec.Cmd
	hold   io.Closer     // the reaper's standard input
	empty  chan struct{} // closed when none is left

	mu    sync.Mutex
	ended map[int]syscall.WaitStatus // by pid
}

// Start starts a program, in the network namespace of the calling thread. Close
// must be called.
func Start(c Command) (*Process, error) {
	reports, report, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Args[0], err)
	}
	defer report.Close()
	p := &Process{ended: map[int]syscall.WaitStatus{}, empty: make(chan struct{})}
	if err := p.startReaper(c, report); err != nil {
		reports.Close()
		return nil, fmt.Errorf("start %s: %w", c.Args[0], err)
	}
	report.Close() // the reaper's copy is the last: its end is the end of reports
	lines := bufio.NewScanner(reports)
	if lines.Scan() {
		_, err = fmt.Sscanf(lines.Text(), "started %d", &p.PID)
	}
	go p.follow(lines, reports)
	if err != nil || p.PID == 0 {
		p.Close()
		return nil, fmt.Errorf("start %s: its log says why", c.Args[0])
	}
	return p, nil
}

func (p *Process) startReaper(c Command, report *os.File) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	p.reaper = exec.Command(self, c.Args...)
	if p.reaper.Env = c.Env; c.Env == nil {
		p.reaper.Env = os.Environ()
	}
	p.reaper.Env = append(p.reaper.Env, asReaper+"=1")
	if c.As != nil {
		p.reaper.Env = append(p.reaper.Env, fmt.Sprintf("%s=%d:%d", asUser, c.As.Uid, c.As.Gid))
	}
	p.reaper.Dir = c.Dir
	p.reaper.Stdout, p.reaper.Stderr = c.Log, c.Log
	p.reaper.ExtraFiles = []*os.File{report}
	p.reaper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the process that started it
	if p.hold, err = p.reaper.StdinPipe(); err != nil {
		return err
	}
	return p.reaper.Start()
}

// follow notes which process ended how.
func (p *Process) follow(lines *bufio.Scanner, from io.Closer) {
	defer close(p.empty)
	defer from.Close()
	for lines.Scan() {
		var pid, status int
		if _, err := fmt.Sscanf(lines.Text(), "ended %d %d", &pid, &status); err == nil {
			p.mu.Lock()
			p.ended[pid] = syscall.WaitStatus(status)
			p.mu.Unlock()
		}
	}
}

// Close kills what is left, and returns when it is gone. It must be called once.
func (p *Process) Close() {
	p.hold.Close()
	_ = p.reaper.Wait() // it has nothing to say
	<-p.empty
}

// Empty is closed when neither the program nor anything that it left behind is left.
func (p *Process) Empty() <-chan struct{} { return p.empty }

// Status tells how a process below the reaper has ended, if it has.
func (p *Process) Status(pid int) (syscall.WaitStatus, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, ok := p.ended[pid]
	return s, ok
}

// Ended tells how each process that has ended and had the reaper for a parent did.
func (p *Process) Ended() map[int]syscall.WaitStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.ended)
}

// settleTimeout is how long signals may take.
const settleTimeout = 10 * time.Second

// Freeze stops all that runs below the reaper, and returns when all of it stands still.
func (p *Process) Freeze() error {
	// A signal takes a moment, and a process may be starting another.
	for deadline := time.Now().Add(settleTimeout); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		running := 0
		for _, e := range p.below() {
			if e.state == 'T' {
				continue
			}
			running++
			if err := kill(e.pid, syscall.SIGSTOP); err != nil {
				return err
			}
		}
		if running == 0 {
			return nil
		}
	}
	return fmt.Errorf("stop the processes below reaper %d: some run after %v", p.reaper.Process.Pid, settleTimeout)
}

// Thaw lets all that stands still below the reaper go on.
func (p *Process) Thaw() error {
	var errs []error
	for _, e := range p.below() {
		errs = append(errs, kill(e.pid, syscall.SIGCONT))
	}
	return errors.Join(errs...)
}

func (p *Process) below() []entry {
	select {
	case <-p.empty:
		return nil // the pid may be another's by now
	default:
		return below(p.reaper.Process.Pid, processes())
	}
}

// Kill sends SIGKILL to the program alone, and returns when it is gone: what it
// has started goes on.
func (p *Process) Kill() error {
	if _, gone := p.Status(p.PID); gone {
		return nil
	}
	if err := kill(p.PID, syscall.SIGKILL); err != nil {
		return err
	}
	for deadline := time.Now().Add(settleTimeout); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if _, gone := p.Status(p.PID); gone {
			return nil
		}
	}
	return fmt.Errorf("kill process %d: it is there after %v", p.PID, settleTimeout)
}

// kill sends a signal; a process that has ended takes none.
func kill(pid int, s syscall.Signal) error {
	if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("send %v to process %d: %w", s, pid, err)
	}
	return nil
}
