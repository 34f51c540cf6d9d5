package handover

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Config says how a successor is started.
type Config struct {
	Path        string       // the program's file
	Args        []string     // the program's name first
	Env         []string     // Variable is added
	Generation  int          // of the successor; at least 2
	Sockets     []Socket     // they stay the caller's
	Predecessor *Predecessor // of this process, to which the successor is to answer as well; nil: none

	// Answer answers the successor's questions, on a goroutine of the
	// connection's; nil: it may not ask.
	Answer func(question []byte) []byte
}

// Successor is the process that is to take over. The zombie it becomes is
// reaped for as long as this process lives; it is not ended with it.
type Successor struct {
	cmd  *exec.Cmd
	conn *conn

	hasCarried bool // something was sent that it is to know

	exited  chan struct{} // closed when it has ended; until it is reaped nobody else gets its process group's id
	decided chan struct{} // closed when it may be reaped: it was called off, or took over
	decide  sync.Once
	ended   chan struct{} // closed after err is set, when it is reaped
	err     error         // of the wait
}

// Start starts a successor, with the standard files and the directory of this
// process, in a process group of its own. Its caller is to end it with CallOff
// or Released.
func Start(c Config) (*Successor, error) {
	ours, theirs, err := pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	earlier, asks, err := c.Predecessor.earlier()
	if err != nil {
		_ = ours.Close()
		return nil, err
	}
	defer closeAll(earlier)
	cmd, list, err := c.command(theirs, earlier, asks)
	if err != nil {
		_ = ours.Close()
		return nil, err
	}
	defer list.Close() // nil: an error that nobody needs
	if err := cmd.Start(); err != nil {
		_ = ours.Close()
		return nil, fmt.Errorf("start %s: %w", c.Path, err)
	}
	s := &Successor{cmd: cmd, exited: make(chan struct{}), decided: make(chan struct{}), ended: make(chan struct{})}
	go s.wait()
	if s.conn, err = newConn(ours, c.Answer); err != nil {
		s.kill()
		return nil, fmt.Errorf("open the connection to the successor: %w", err)
	}
	return s, nil
}

// command is what starts the successor, and the file with the list of its
// sockets, which is the caller's to close; nil: there is none.
func (c Config) command(theirs *os.File, earlier []*os.File, asks []bool) (cmd *exec.Cmd, list *os.File, err error) {
	_, _, env := cut(c.Env, Variable)
	m := manifest{Protocol: protocol, PID: os.Getpid(), Generation: c.Generation, Ancestors: len(earlier), Asks: append([]bool{c.Answer != nil}, asks...)}
	for _, s := range c.Sockets {
		m.Sockets = append(m.Sockets, manifestSocket{Name: s.Name, Shared: s.Shared})
	}
	cmd = exec.Command(c.Path)
	cmd.Args = c.Args
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.ExtraFiles = []*os.File{theirs}
	if len(m.String()) > maxManifest {
		if list, err = m.moveList(); err != nil {
			return nil, nil, err
		}
		cmd.ExtraFiles = append(cmd.ExtraFiles, list)
	}
	for _, s := range c.Sockets {
		cmd.ExtraFiles = append(cmd.ExtraFiles, s.File)
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, earlier...)
	cmd.Env = append(env, Variable+"="+m.String())
	return cmd, list, nil
}

func (s *Successor) wait() {
	awaitExit(s.cmd.Process.Pid)
	close(s.exited)
	<-s.decided
	s.err = s.cmd.Wait()
	close(s.ended)
}

// awaitExit returns when the child pid has ended. It leaves the zombie.
func awaitExit(pid int) {
	for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
}

// PID is the successor's.
func (s *Successor) PID() int { return s.cmd.Process.Pid }

// AwaitReady returns nil when the successor has said that it is ready to
// serve. It returns ErrGone when that has ended, which says why where it could
// tell, and the cause of ctx's end.
func (s *Successor) AwaitReady(ctx context.Context) error { return s.await(ctx, messageReady) }

// TakeOver tells the successor to serve, and returns nil when it says that it
// does. It returns ErrGone when that has ended, and the cause of ctx's end: the
// successor may have clients by then, but whoever does not say that it serves
// is not to be relied upon.
func (s *Successor) TakeOver(ctx context.Context) error {
	if err := s.conn.send(messageTakeOver); err != nil {
		return err
	}
	return s.await(ctx, messageServing)
}

// Released tells the successor that it alone accepts from the sockets. From
// here on it is not called off any more.
func (s *Successor) Released() {
	_ = s.conn.send(messageReleased) // when it has ended, AwaitDeath tells
	s.decide.Do(func() { close(s.decided) })
}

// AwaitDeath waits, after Released, until the successor has died, and every
// process to which it has handed over in its turn: then nobody but this process,
// and those before it, has the sockets. It tells how the successor ended. It
// returns ErrEnded when whoever serves ends in good order, and the cause of ctx's end.
//
// A program of before says neither that it hands over nor that it ends, and
// closes the connection once it has taken over: of it the exit status tells.
func (s *Successor) AwaitDeath(ctx context.Context) (how string, err error) {
	messages, ended := s.conn.messages, s.ended
	hasHandedOver, hasEnded := false, false
	var lastWords <-chan time.Time // what it said before its end has been read when this fires
	for {
		select {
		case m, ok := <-messages:
			switch {
			case m == messageHandedOver:
				hasHandedOver = true
			case m == messageEnding:
				return "", ErrEnded
			case !ok && (hasHandedOver || hasEnded):
				return s.death(hasHandedOver)
			case !ok: // it is ending, or a program of before
				messages = nil
			}
		case <-ended:
			if messages == nil {
				return s.death(false)
			}
			// Others may have the connection as well: a successor of its own, or
			// what a script around it has started.
			ended, hasEnded, lastWords = nil, true, time.After(exitDelay)
		case <-lastWords:
			if !hasHandedOver {
				return s.death(false)
			}
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

// death tells how the successor has ended, which was in good order when that
// was with status 0, unless another had taken over from it.
func (s *Successor) death(hadHandedOver bool) (how string, err error) {
	select {
	case <-s.ended:
	default: // it lives, and has let its own successor's place go
		return "connection closed", nil
	}
	if s.err == nil && !hadHandedOver {
		return "", ErrEnded
	}
	return s.cmd.ProcessState.String(), nil
}

// exitDelay is how far apart the end of a process and that of its connection
// are taken to be one.
const exitDelay = time.Second

// Close closes the connection to a successor that has taken over.
func (s *Successor) Close() { s.conn.close() }

// endTimeout bounds the wait for the end of a process that was killed.
const endTimeout = 5 * time.Second

// CallOff ends the successor and its process group with SIGKILL, waits for its
// end and tells how it ended: it may have done so by itself.
func (s *Successor) CallOff() string {
	s.awaitLeaving()
	s.kill()
	// For one that has left its group (a script around it may), and would take
	// the end of the connection for our end.
	_ = s.conn.send(messageCallOff)
	s.conn.close()
	select {
	case <-s.ended:
	case <-time.After(endTimeout):
		return fmt.Sprintf("still there %v after SIGKILL", endTimeout)
	}
	return s.cmd.ProcessState.String()
}

// awaitLeaving gives a successor that has hung up the moment to end that its
// exit status is worth.
func (s *Successor) awaitLeaving() {
	select {
	case _, ok := <-s.conn.messages:
		if ok {
			return
		}
	default:
		return
	}
	select {
	case <-s.exited:
	case <-time.After(exitDelay):
	}
}

// kill ends the process group, of which the successor's zombie keeps the id
// until then; then that may be reaped.
func (s *Successor) kill() {
	s.decide.Do(func() {
		_ = unix.Kill(-s.cmd.Process.Pid, unix.SIGKILL) // when it fails, CallOff tells that it is still there
		close(s.decided)
	})
}

// await waits for a message.
func (s *Successor) await(ctx context.Context, want byte) error {
	select {
	case m, ok := <-s.conn.messages:
		switch {
		case !ok:
			return s.conn.gone()
		case m != want:
			return fmt.Errorf("the successor said %q; expected %q", m, want)
		}
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
