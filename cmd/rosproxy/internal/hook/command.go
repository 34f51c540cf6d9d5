package hook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/events"
)

// Shell runs the command.
const Shell = "/bin/sh"

// run runs the command for e and returns when it, and what it has left in its
// process group, has ended. The log says how it failed.
func (r *Runner) run(ctx context.Context, e events.Event) {
	begun := time.Now()
	said := &tail{}
	c := exec.Command(Shell, "-c", r.command)
	c.Env = append(facts(e), r.env...)
	c.Stderr = said
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.WaitDelay = pipeGrace
	err := c.Start()
	if err == nil {
		err = r.await(ctx, c)
	}
	log := r.log.With().Str("label", e.Label()).Str("event", e.Name).Logger()
	if err != nil {
		log.Warn().Err(err).Str("stderr", said.String()).Dur("duration_ms", time.Since(begun)).Msg("command of --on-failover failed")
		return
	}
	log.Debug().Dur("duration_ms", time.Since(begun)).Msg("command of --on-failover done")
}

// pipeGrace is how long a descendant of the command that has left its process group may
// still write to its stderr.
const pipeGrace = 100 * time.Millisecond

// await returns when c has ended, or has been killed.
func (r *Runner) await(ctx context.Context, c *exec.Cmd) error {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		awaitExit(c.Process.Pid)
	}()
	killed := waitUntil(ended, ctx.Done(), r.patience)
	if killed != nil && ctx.Err() != nil {
		if killed = waitUntil(ended, nil, endGrace); killed != nil {
			killed = errors.New("killed, since the process ends")
		}
	}
	// The shell is not reaped before this, so that its group is nobody else's.
	_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL) // ESRCH cannot be
	<-ended
	err := c.Wait()
	switch {
	case killed != nil:
		return killed
	case errors.Is(err, exec.ErrWaitDelay):
		return nil
	}
	return err
}

// waitUntil returns nil when ended is closed, before stop is and before d has passed.
func waitUntil(ended, stop <-chan struct{}, d time.Duration) error {
	late := time.NewTimer(d)
	defer late.Stop()
	select {
	case <-ended:
		return nil
	case <-stop:
		return context.Canceled
	case <-late.C:
		return fmt.Errorf("killed after %v", d)
	}
}

// awaitExit returns when the child pid has ended, and leaves it to be waited for.
func awaitExit(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// variables are what the command is told of an event, and in which fields of it
// that stands. The first field that the event has counts.
var variables = []struct {
	name   string
	fields []string
}{
	{"ROSPROXY_LABEL", []string{"label"}},
	{"ROSPROXY_ID", []string{"id"}},
	{"ROSPROXY_FROM", []string{"from"}},
	{"ROSPROXY_TO", []string{"to"}},
	{"ROSPROXY_EPOCH", []string{"epoch", "term"}},
	{"ROSPROXY_DROPPED", []string{"dropped"}},
	{"ROSPROXY_REASON", []string{"reason", "by"}},
}

// master is the variable that has the master of an event that names one alone.
var master = map[string]string{"lost": "ROSPROXY_FROM", "back": "ROSPROXY_TO"}

// VariableEvent names the variable that has the name of the event; no command has it empty.
const VariableEvent = "ROSPROXY_EVENT"

// Variables are the names of those that the command is given.
func Variables() []string {
	names := []string{VariableEvent}
	for _, v := range variables {
		names = append(names, v.name)
	}
	return names
}

// facts are the variables of e. All are there; those of which nothing is known are empty.
func facts(e events.Event) []string {
	env := []string{VariableEvent + "=" + e.Name}
	for _, v := range variables {
		fields := v.fields
		if master[e.Name] == v.name {
			fields = []string{"master"}
		}
		env = append(env, v.name+"="+textOf(e, fields))
	}
	return env
}

func textOf(e events.Event, fields []string) string {
	for _, name := range fields {
		if value := e.Field(name); value != nil {
			return strings.ReplaceAll(fmt.Sprint(value), "\x00", "") // no variable can have one
		}
	}
	return ""
}

// inherited is what of this process's environment the command gets: not what is
// said to this process alone, nor what another event's command was told.
func inherited(env []string) []string {
	drop := map[string]bool{"NOTIFY_SOCKET": true, "WATCHDOG_USEC": true, "WATCHDOG_PID": true, "LISTEN_PID": true, "LISTEN_FDS": true, "LISTEN_FDNAMES": true}
	for _, name := range Variables() {
		drop[name] = true
	}
	var kept []string
	for _, e := range env {
		if name, _, _ := strings.Cut(e, "="); !drop[name] {
			kept = append(kept, e)
		}
	}
	return kept
}

// maxSaid bounds what a line of the log has of a command's stderr, in bytes.
const maxSaid = 1024

// tail is a writer that keeps the end of what it is given.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p[max(0, len(p)-maxSaid):]...)
	t.b = t.b[max(0, len(t.b)-maxSaid):]
	return len(p), nil
}

// String is read when nobody writes any more.
func (t *tail) String() string {
	return string(bytes.ToValidUTF8(bytes.TrimSpace(t.b), nil))
}
