package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// checkTTL is the workers' check: silent for so long is failed.
const checkTTL = 2 * time.Second

// record is the n-th number of a client.
type record struct {
	client string
	n      uint64
}

// worker is one sync worker, over all its lives.
type worker struct {
	id      string // SYNC_ID
	label   string
	addr    string
	program string
	flags   []string // besides those for its address and Consul
	process *process

	mu    sync.Mutex
	fence fenced // the last line of its log about that
}

// fenced is a line of a worker's log: it is master, and every instance that
// reports has let go of the one before.
type fenced struct {
	Message string    `json:"message"`
	Time    time.Time `json:"time"`
	Epoch   uint64    `json:"epoch"`
	Reports int       `json:"reports"`
}

// read takes one line of the log.
func (w *worker) read(line []byte) {
	if !bytes.Contains(line, []byte(`"fenced"`)) {
		return
	}
	var f fenced
	if json.Unmarshal(line, &f) != nil || f.Message != "fenced" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fence = f
}

// fencedIn is when the worker, master in that epoch, heard that all instances have
// let go of its predecessor, and how many those are; zero: it has not.
func (w *worker) fencedIn(epoch uint64) (at time.Time, reports int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fence.Epoch != epoch {
		return time.Time{}, 0
	}
	return w.fence.Time, w.fence.Reports
}

func serviceID(label, id string) string { return "sync-" + label + "-" + id }

func (w *worker) serviceID() string { return serviceID(w.label, w.id) }

// start runs the worker, at the same address each time.
func (w *worker) start(c *consul, dir string) error {
	env := slices.Concat(c.env, []string{"SYNC_LABEL=" + w.label, "SYNC_ID=" + w.id})
	args := slices.Concat([]string{"--listen", w.addr, "--check-ttl", checkTTL.String()}, w.flags, c.flags)
	p, err := startProcess(dir, "worker "+w.id, env, w.read, w.program, args...)
	if err != nil {
		return err
	}
	w.process = p
	return nil
}

func (w *worker) kill() error   { return w.process.kill() }
func (w *worker) freeze() error { return w.process.signal(syscall.SIGSTOP) }
func (w *worker) thaw() error   { return w.process.signal(syscall.SIGCONT) }

// ask sends one request straight to the worker, past rosproxy, and returns the
// first line of the answer; the connection is to be closed.
func (w *worker) ask(ctx context.Context, request string) (string, net.Conn, *bufio.Reader, error) {
	d := net.Dialer{Timeout: 2 * time.Second}
	conn, err := d.DialContext(ctx, "tcp", w.addr)
	if err != nil {
		return "", nil, nil, fmt.Errorf("ask worker %s for %s: %w", w.id, request, err)
	}
	conn.SetDeadline(time.Now().Add(20 * time.Second)) //nolint:errcheck // a new connection takes one
	in := bufio.NewReader(conn)
	if _, err = fmt.Fprintln(conn, request); err == nil {
		var line string
		if line, err = in.ReadString('\n'); err == nil {
			return strings.TrimSpace(line), conn, in, nil
		}
	}
	conn.Close()
	return "", nil, nil, fmt.Errorf("ask worker %s for %s: %w", w.id, request, err)
}

// askWithin asks until ctx ends, and answers the first line.
func (w *worker) askWithin(ctx context.Context, request string) (string, error) {
	d := net.Dialer{}
	conn, err := d.DialContext(ctx, "tcp", w.addr)
	if err != nil {
		return "", fmt.Errorf("ask worker %s for %s: %w", w.id, request, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := fmt.Fprintln(conn, request); err != nil {
		return "", fmt.Errorf("ask worker %s for %s: %w", w.id, request, err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line), err
}

// status is the worker's own word on itself, by name: role, epoch, records,
// complete, in-sync. It is empty while the worker does not answer.
func (w *worker) status(ctx context.Context) map[string]string {
	line, conn, _, err := w.ask(ctx, "STATUS")
	if err != nil {
		return nil
	}
	conn.Close()
	s := map[string]string{}
	for _, f := range strings.Fields(line) {
		if k, v, ok := strings.Cut(f, "="); ok {
			s[k] = v
		}
	}
	return s
}

// dump reads every record that the worker holds.
func (w *worker) dump(ctx context.Context) (map[record]bool, error) {
	line, conn, in, err := w.ask(ctx, "DUMP")
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	count, err := strconv.Atoi(strings.TrimPrefix(line, "RECORDS "))
	if err != nil {
		return nil, fmt.Errorf("dump worker %s: it answered %q", w.id, line)
	}
	held := make(map[record]bool)
	for range count {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil, fmt.Errorf("dump worker %s: %w", w.id, err)
		}
		client, number, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("dump worker %s: it sent %q", w.id, line)
		}
		held[record{client, n}] = true
	}
	return held, nil
}
