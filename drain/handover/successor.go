package handover

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// Config says how a successor is started.
type Config struct {
	Path       string   // the program's file
	Args       []string // the program's name first
	Env        []string // Variable is added
	Generation int      // of the successor; at least 2
	Sockets    []Socket // they stay the caller's
}

// Successor is the process that is to take over. The zombie it becomes is
// reaped for as long as this process lives; it is not ended with it.
type Successor struct {
	cmd   *exec.Cmd
	line  *line
	ended chan struct{} // closed after err is set
	err   error         // of the wait
}

// Start starts a successor, with the standard files and the directory of this
// process. Its caller is to end it with CallOff or Released.
func Start(c Config) (*Successor, error) {
	ours, theirs, err := pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	_, _, env := cut(c.Env, Variable)
	l := letter{Protocol: protocol, PID: os.Getpid(), Generation: c.Generation}
	cmd := exec.Command(c.Path)
	cmd.Args = c.Args
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{theirs}
	for _, s := range c.Sockets {
		l.Sockets = append(l.Sockets, letterSocket{Name: s.Name, Shared: s.Shared})
		cmd.ExtraFiles = append(cmd.ExtraFiles, s.File)
	}
	cmd.Env = append(env, Variable+"="+l.String())
	if err := cmd.Start(); err != nil {
		_ = ours.Close()
		return nil, fmt.Errorf("start %s: %w", c.Path, err)
	}
	s := &Successor{cmd: cmd, ended: make(chan struct{})}
	go s.wait()
	if s.line, err = newLine(ours); err != nil {
		_ = cmd.Process.Kill()
		return nil, fmt.Errorf("open the line to the successor: %w", err)
	}
	return s, nil
}

func (s *Successor) wait() {
	s.err = s.cmd.Wait()
	close(s.ended)
}

// PID is the successor's.
func (s *Successor) PID() int { return s.cmd.Process.Pid }

// Ended is closed when the successor has ended.
func (s *Successor) Ended() <-chan struct{} { return s.ended }

// End tells how the successor has ended, and whether that was with status 0.
// It is to be called after Ended.
func (s *Successor) End() (how string, well bool) {
	return s.cmd.ProcessState.String(), s.err == nil
}

// AwaitReady returns nil when the successor has said that it is ready to
// serve. It returns ErrGone when that has ended, and the cause of ctx's end.
func (s *Successor) AwaitReady(ctx context.Context) error { return s.hear(ctx, wordReady) }

// TakeOver tells the successor to serve, and returns nil when it says that it
// does. From here on it may have clients, and must not be called off, unless
// the error is ErrGone. When ctx ends first its cause is returned.
func (s *Successor) TakeOver(ctx context.Context) error {
	if err := s.line.say(wordTakeOver); err != nil {
		return err
	}
	return s.hear(ctx, wordServing)
}

// Released tells the successor that the sockets are its alone, and hangs up.
func (s *Successor) Released() {
	_ = s.line.say(wordReleased) // when it does not hear that, it hears the end of the line
	s.line.close()
}

// endTimeout bounds the wait for the end of a process that was killed.
const endTimeout = 5 * time.Second

// CallOff ends the successor with SIGKILL, waits for its end and tells how it
// ended: it may have done so by itself.
func (s *Successor) CallOff() string {
	// For a program that is not itself the process that we started (a script
	// around it), and would take the end of the line for our end.
	_ = s.line.say(wordCallOff)
	if s.leaving() {
		s.kill()
	}
	s.line.close()
	select {
	case <-s.ended:
	case <-time.After(endTimeout):
		return fmt.Sprintf("still there %v after SIGKILL", endTimeout)
	}
	return s.cmd.ProcessState.String()
}

// leaving gives a successor that has hung up the moment to end that its exit
// status is worth; it answers whether it is still there.
func (s *Successor) leaving() bool {
	select {
	case <-s.line.words:
	default:
		return true
	}
	select {
	case <-s.ended:
		return false
	case <-time.After(time.Second):
		return true
	}
}

func (s *Successor) kill() {
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return // CallOff tells that it is still there
	}
}

// hear waits for word.
func (s *Successor) hear(ctx context.Context, word byte) error {
	select {
	case w, ok := <-s.line.words:
		switch {
		case !ok:
			return ErrGone
		case w != word:
			return fmt.Errorf("the successor said %q; expected %q", w, word)
		}
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
