package realconsul

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
)

// process is one child that cannot outlive us.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has ended and was waited for
}

// startProcess runs a program with its output in log.
//
// The kernel kills the child when the thread that made it ends, so one
// goroutine keeps that thread until the child has ended.
func startProcess(log io.Writer, name string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(name, args...), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Env = cleanEnv()
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

func (p *process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	p.cmd.Wait() // how it ended is in its log
	close(p.ended)
}

// signal sends a signal; a process that has ended takes none.
func (p *process) signal(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s to %s: %w", s, p.cmd.Path, err)
	}
	return nil
}

// standsStill reports whether every thread of the process is stopped, or has ended.
func (p *process) standsStill() bool {
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid))
	if err != nil {
		return true
	}
	for _, stat := range stats {
		b, err := os.ReadFile(stat)
		if err != nil {
			continue // that thread has ended
		}
		// "pid (name) state ...", where the name may have any character (proc_pid_stat(5)).
		if after := b[bytes.LastIndexByte(b, ')')+1:]; !bytes.HasPrefix(after, []byte(" T")) && !bytes.HasPrefix(after, []byte(" Z")) {
			return false
		}
	}
	return true
}

// kill ends the process, frozen or not, and returns when it is gone.
func (p *process) kill() {
	p.cmd.Process.Kill() // fails only when it is gone already
	<-p.ended
}

// alive reports whether the process has not ended.
func (p *process) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// cleanEnv is our environment without what would configure Consul.
func cleanEnv() []string {
	return append(withoutPrefix(os.Environ(), "CONSUL_"), "GOMAXPROCS=2")
}
