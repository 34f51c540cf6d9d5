package lan

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is a program that runs on a host. The end of the box ends it.
type Process struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has ended and was waited for
}

// settleTimeout is how long a signal may take.
const settleTimeout = 20 * time.Second

// Start starts a program on the host, with its output at the end of a file.
func (h *Host) Start(log string, env []string, args ...string) (*Process, error) {
	file, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	p := &Process{cmd: exec.Command(args[0], args[1:]...), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = file, file
	p.cmd.Env = append(cleanEnv(), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // nobody who waits for it, as far as it can see
	if err := h.Do(p.cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s on %s: %w", args[0], h.Name, err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in its log
		close(p.ended)
	}()
	return p, nil
}

// Run runs a program on the host to its end, and returns what it has said.
func (h *Host) Run(env []string, args ...string) (string, error) {
	cmd := exec.Command(args[0], args[1:]...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.Env = append(cleanEnv(), env...)
	err := h.Do(cmd.Start)
	if err == nil {
		err = cmd.Wait()
	}
	return said.String(), err
}

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Alive reports whether the process has not ended.
func (p *Process) Alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// How tells how the process has ended.
func (p *Process) How() string { return p.cmd.ProcessState.String() }

// Kill ends the process, frozen or not, and returns when it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // fails only when it is gone
	<-p.ended
}

// Signal sends a signal; a process that has ended takes none.
func Signal(pid int, s syscall.Signal) error {
	if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal %v to process %d: %w", s, pid, err)
	}
	return nil
}

// Freeze stops a process, and returns when all of it stands still.
func Freeze(pid int) error {
	if err := Signal(pid, syscall.SIGSTOP); err != nil {
		return err
	}
	for deadline := time.Now().Add(settleTimeout); !standsStill(pid); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("stop process %d: it runs after %v", pid, settleTimeout)
		}
	}
	return nil
}

// Thaw lets a process go on.
func Thaw(pid int) error { return Signal(pid, syscall.SIGCONT) }

// standsStill reports whether every thread of a process is stopped, or has ended.
func standsStill(pid int) bool {
	stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, stat := range stats {
		b, err := os.ReadFile(stat)
		if err != nil {
			continue // that thread has ended
		}
		if s := state(b); s != 'T' && s != 'Z' && s != 'X' {
			return false
		}
	}
	return true
}

// state is the third field of "pid (name) state ...", where the name may have any
// character (proc_pid_stat(5)).
func state(stat []byte) byte {
	after := bytes.TrimSpace(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(after) == 0 {
		return 'X'
	}
	return after[0]
}

// PIDs are the processes on the host whose program has a name, those that
// others have left behind as well.
func (h *Host) PIDs(name string) []int {
	mine, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", h.file.Fd()))
	if err != nil {
		return nil
	}
	var pids []int
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		ns, err := os.Readlink("/proc/" + e.Name() + "/ns/net")
		if err != nil || ns != mine {
			continue
		}
		if exe, err := os.Readlink("/proc/" + e.Name() + "/exe"); err == nil && strings.TrimSuffix(filepath.Base(exe), " (deleted)") == name {
			pids = append(pids, pid)
		}
	}
	return pids
}

// cleanEnv is our environment without what would configure the programs.
func cleanEnv() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "CONSUL_") && !strings.HasPrefix(e, "ROSPROXY_") && !strings.HasPrefix(e, "NOTIFY_") && !strings.HasPrefix(e, "LISTEN_") {
			env = append(env, e)
		}
	}
	return env
}
