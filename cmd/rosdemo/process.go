package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopTimeout is how long a process may take to end when it is asked to.
const stopTimeout = 5 * time.Second

// process is a child. It ends with rosdemo, whatever becomes of that.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string        // the file that has its output
	done chan struct{} // closed after err is set
	err  error         // of Wait

	mu       sync.Mutex
	expected bool // its end is no surprise
}

// startProcess starts a program whose output goes to a file in dir, and line by
// line to lines, if that is not nil.
func startProcess(dir, name string, env []string, lines func([]byte), program string, args ...string) (*process, error) {
	file, err := os.OpenFile(filepath.Join(dir, strings.ReplaceAll(name, " ", "-")+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{name: name, cmd: exec.Command(program, args...), log: file.Name(), done: make(chan struct{})}
	p.cmd.Env = env
	// A group of its own: the terminal's Ctrl-C is for rosdemo, which ends its children in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	out := io.WriteCloser(file)
	if lines != nil {
		out = tee(file, lines)
	}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if err := p.cmd.Start(); err != nil {
		out.Close()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go p.wait(out)
	return p, nil
}

// tee writes to file, and calls lines with each line on a goroutine that ends
// when the writer is closed.
func tee(file io.WriteCloser, lines func([]byte)) io.WriteCloser {
	r, w := io.Pipe()
	go func() {
		defer file.Close()
		in := bufio.NewScanner(io.TeeReader(r, file))
		for in.Scan() {
			lines(in.Bytes())
		}
		io.Copy(file, r) //nolint:errcheck // after a line too long; the log is a courtesy
	}()
	return w
}

func (p *process) wait(out io.Closer) {
	p.err = p.cmd.Wait()
	out.Close()
	close(p.done)
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// ended reports whether the process is gone.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// died returns an error when the process has ended and nobody asked it to.
func (p *process) died() error {
	p.mu.Lock()
	expected := p.expected
	p.mu.Unlock()
	if expected || !p.ended() {
		return nil
	}
	how := "with exit status 0"
	if p.err != nil {
		how = p.err.Error()
	}
	return fmt.Errorf("%s ended by itself, %s; its last words:\n%s", p.name, how, tail(p.log))
}

// expectEnd says that from now on the end of the process is no surprise.
func (p *process) expectEnd() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expected = true
}

func (p *process) signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %v to %s: %w", s, p.name, err)
	}
	return nil
}

// kill ends the process with SIGKILL and returns when it is gone.
func (p *process) kill() error {
	p.expectEnd()
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return nil
}

// stop ends the process as an operator does, frozen or not, and returns when it is gone.
func (p *process) stop() {
	p.expectEnd()
	for _, s := range []syscall.Signal{syscall.SIGCONT, syscall.SIGTERM} {
		if p.signal(s) != nil {
			break
		}
	}
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		p.kill() //nolint:errcheck // nothing is left to do
	}
}

// tail is the end of a log.
func tail(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return "  " + strings.Join(lines[max(0, len(lines)-5):], "\n  ")
}
