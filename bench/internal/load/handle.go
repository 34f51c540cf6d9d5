package load

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// WorkerArg is what makes the binary a load worker when it is its first argument.
const WorkerArg = "worker"

// Worker is a load worker process.
type Worker struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// Start starts a load worker from this binary. It ends with Stop, or with ctx.
func Start(ctx context.Context) (*Worker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the own binary: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, WorkerArg)
	// Its loop never lets go of its thread; signals to make it are only noise.
	cmd.Env = append(os.Environ(), "GODEBUG=asyncpreemptoff=1")
	cmd.Stderr = os.Stderr
	w := &Worker{cmd: cmd}
	if w.in, err = cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start a load worker: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start a load worker: %w", err)
	}
	w.out = bufio.NewReader(out)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a load worker: %w", err)
	}
	return w, nil
}

// Stop ends the worker, and with it its connections, and returns when it is gone.
func (w *Worker) Stop() {
	_ = w.cmd.Process.Kill() // fails only when it is gone already
	_ = w.cmd.Wait()
}

// PID is the worker's process id.
func (w *Worker) PID() int { return w.cmd.Process.Pid }

func (w *Worker) ask(c command) (reply, error) {
	line, err := json.Marshal(c)
	if err != nil {
		return reply{}, fmt.Errorf("encode a command: %w", err)
	}
	var r reply
	if _, err = w.in.Write(append(line, '\n')); err == nil {
		line, err = w.out.ReadBytes('\n')
	}
	if err == nil {
		err = json.Unmarshal(line, &r)
	}
	if err == nil && r.Error != "" {
		err = errors.New(r.Error)
	}
	if err != nil {
		return r, fmt.Errorf("load worker: %s: %w", c.Op, err)
	}
	return r, nil
}

// Group is connections of a worker that do the same.
type Group struct {
	w       *Worker
	number  int
	Address string // listened on, or connected to
}

// Listen makes the worker a master at address; port 0 takes any.
func (w *Worker) Listen(address string, s Spec) (*Group, error) { return w.group("listen", address, s) }

// Open has the worker's clients connect to address. It does not wait for them.
func (w *Worker) Open(address string, s Spec) (*Group, error) { return w.group("open", address, s) }

func (w *Worker) group(op, address string, s Spec) (*Group, error) {
	r, err := w.ask(command{Op: op, Address: address, Spec: &s})
	if err != nil {
		return nil, err
	}
	return &Group{w: w, number: r.Group, Address: r.Address}, nil
}

// Mark begins the counts of g anew; what it returns tells when. From here on
// only answers of the master wanted count as served; 0: of any.
func (g *Group) Mark(wanted byte) (*Stats, error) { return g.ask("mark", wanted) }

// Stats returns what g has counted.
func (g *Group) Stats() (*Stats, error) { return g.ask("stats", 0) }

func (g *Group) ask(op string, wanted byte) (*Stats, error) {
	r, err := g.w.ask(command{Op: op, Group: g.number, Wanted: wanted})
	return r.Stats, err
}

// Await asks for g's counts until done says so, and returns the last. The
// error of its end in time says what they were.
func (g *Group) Await(ctx context.Context, limit time.Duration, done func(*Stats) bool) (*Stats, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := g.Stats()
		if err != nil {
			return nil, err
		}
		if done(s) {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return s, fmt.Errorf("after %v: %d connections live, %d served, %d closed, %d failed: %w", limit, s.Live, s.Served, s.Closed, s.Failed, ctx.Err())
		case <-tick.C:
		}
	}
}
