package fleet_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// configured is an instance that has its listeners from a file.
type configured struct {
	*instance
	file string
}

// write writes the file: the listener that the balancer knows, and others.
func (c *configured) write(others ...string) {
	c.t.Helper()
	text := "listeners:\n  - {label: default, listen: \":" + proxyPort + "\"}\n"
	for _, o := range others {
		text += "  - " + o + "\n"
	}
	next := c.file + ".new"
	err := os.WriteFile(next, []byte(text), 0o600)
	if err == nil {
		err = os.Rename(next, c.file)
	}
	if err != nil {
		c.t.Fatalf("write the configuration of %s: %v", c.name, err)
	}
}

// reload has the instance read its file, and returns when the generation that
// has read it serves.
func (c *configured) reload() {
	c.t.Helper()
	next := c.status().Generation + 1
	c.signal(syscall.SIGHUP)
	c.awaitGeneration(next)
}

// newConfigured starts a fleet behind HAProxy whose instances have their
// listeners from files.
func newConfigured(t *testing.T, flags ...string) (f *fleet, both []*configured) {
	t.Helper()
	f = newTier(t)
	front := f.network.hosts["balancer"]
	for _, name := range []string{"a", "b"} {
		h := f.network.hosts[name]
		i := newInstance(t, name, h, append([]string{
			"--consul-addr=" + f.consul.address, "--agent-check-listen=" + h.ip + ":" + agentPort, "--send-proxy=v2",
			"--accept-proxy=on", "--accept-proxy-from=" + front.ip + "/32",
		}, flags...)...)
		c := &configured{instance: i, file: filepath.Join(t.TempDir(), "rosproxy.yaml")}
		i.args = append(slices.DeleteFunc(i.args, func(a string) bool { return strings.HasPrefix(a, "--listen=") }), "--config="+c.file)
		c.write()
		i.start()
		both = append(both, c)
	}
	f.a, f.b = both[0].instance, both[1].instance
	f.haproxy = startHAProxy(t, front)
	f.load(front)
	return f, both
}

// static is a listener for clients who send no header, with a fixed master.
func static(label string, port int, m *master) string {
	m.become(label)
	return fmt.Sprintf("{label: %s, listen: \":%d\", static-master: %q, accept-proxy: off}", label, port, net.JoinHostPort(m.host.ip, fmt.Sprint(workerPort)))
}

// asks sends one request to a port of an instance, and gives the master's name.
func (f *fleet) asks(i *instance, port int) (string, error) {
	ctx, cancel := context.WithTimeout(f.t.Context(), testTimeout)
	defer cancel()
	c, err := f.network.hosts["client"].dial(ctx, net.JoinHostPort(i.host.ip, fmt.Sprint(port)))
	if err != nil {
		return "", err
	}
	defer c.Close()
	a, err := exchange(c, bufio.NewReader(c), "reloaded")
	return a.master, err
}

func (f *fleet) wantAnswer(i *instance, port int, want *master) {
	f.t.Helper()
	if got, err := f.asks(i, port); err != nil || got != want.name {
		f.t.Errorf("port %d of %s: got %q, %v; want the answer of %s", port, i.name, got, err, want.name)
	}
}

// awaitRefused waits until nobody listens on a port of an instance, nor keeps
// clients in its queue.
func (f *fleet) awaitRefused(i *instance, port int) {
	f.t.Helper()
	eventually(f.t, fmt.Sprintf("%s to close port %d", i.name, port), func() bool {
		_, err := f.asks(i, port)
		return errors.Is(err, syscall.ECONNREFUSED)
	})
}

// In each round one listener comes, that of the round before goes, one moves to
// another port, and one gets another master. The balancer's is left as it is.
func TestReloadsTouchOnlyTheListenersThatChange(t *testing.T) {
	t.Parallel()
	f, both := newConfigured(t)
	masters := []*master{f.one, f.two}
	const rounds = 5
	earlier := map[*configured][]int{}
	for round := range rounds {
		comes, goes := 7900+round, 7899+round
		moved, left := 7820+round%2, 7821-round%2
		changes := masters[round%2]
		for _, c := range both {
			earlier[c] = append(earlier[c], c.status().PID)
			c.write(
				static("comes-"+fmt.Sprint(round), comes, f.one),
				static("moves", moved, f.two),
				static("changes", 7830, changes),
			)
			c.reload()
			f.wantAnswer(c.instance, comes, f.one)
			f.wantAnswer(c.instance, moved, f.two)
			f.wantAnswer(c.instance, 7830, changes)
			if round > 0 {
				f.awaitRefused(c.instance, goes)
				f.awaitRefused(c.instance, left)
			}
		}
		f.open(1)
	}
	f.traffic.flows("after the reloads")
	f.wantUntouched("by reloads", f.streams)
	f.wantAllAnswered()
	for _, s := range f.streams {
		s.close()
	}
	for _, c := range both {
		c.awaitEnded(earlier[c])
		c.wantNoTrouble()
	}
}

// The label is another, the socket is the same: nobody is refused.
func TestLabelThatIsRenamedKeepsItsSocket(t *testing.T) {
	t.Parallel()
	f, both := newConfigured(t)
	c := both[0]
	c.write(static("before", 7840, f.one))
	c.reload()
	end, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(failed)
		for {
			select {
			case <-end:
				return
			default:
			}
			if _, err := f.asks(c.instance, 7840); err != nil {
				failed <- err
				return
			}
		}
	}()
	c.write(static("after", 7840, f.one))
	c.reload()
	f.wantAnswer(c.instance, 7840, f.one)
	close(end)
	if err := <-failed; err != nil {
		t.Errorf("request while the label was renamed: got %v; want none to fail", err)
	}
	f.wantAllAnswered()
}

func TestReloadOfAWrongFileChangesNothing(t *testing.T) {
	t.Parallel()
	f, both := newConfigured(t)
	c := both[0]
	before := c.status()
	for _, wrong := range []struct{ listener, says string }{
		{"{label: x, listen: \":7850\", colour: blue}", c.file + ":3: colour: no such key of a listener"},
		{"{label: x, listen: \"192.0.2.1:7850\"}", "listen on \\\"192.0.2.1:7850\\\""},
	} {
		c.write(wrong.listener)
		failures := len(c.logged(upgradeFailed))
		c.signal(syscall.SIGHUP)
		eventually(t, "the log to say that the reload has failed", func() bool { return len(c.logged(upgradeFailed)) > failures })
		if last := c.logged(upgradeFailed)[failures]; last.Level != "error" || !strings.Contains(last.text, wrong.says) {
			t.Errorf("got %s; want an error that says %q", last.text, wrong.says)
		}
		if after := c.status(); after.PID != before.PID || after.State != "serving" || len(after.Labels) != 1 {
			t.Errorf("got %+v; want that of before, %+v", after, before)
		}
	}
	f.traffic.flows("after reloads that failed")
	f.wantUntouched("by reloads that failed", f.streams)

	c.write(static("x", 7850, f.two))
	c.reload()
	f.wantAnswer(c.instance, 7850, f.two)
	f.wantAllAnswered()
}

// The new process has closed a port that it does not want; then it dies. Whoever
// served before it serves all that it had.
func TestListenerThatWasRemovedIsBackWithItsProcess(t *testing.T) {
	t.Parallel()
	f, both := newConfigured(t)
	c := both[0]
	c.write(static("x", 7860, f.one))
	c.reload()
	old := c.status()
	f.open(longLived) // through the process that is to come back
	streams, _ := f.through(c.instance)
	c.write()
	c.reload()
	f.awaitRefused(c.instance, 7860)
	c.signal(syscall.SIGKILL)
	eventually(t, "the process of before to serve again", func() bool {
		var s status
		code, _, err := c.admin("GET", "/status", &s)
		return err == nil && code == 200 && s.PID == old.PID && s.State == "serving"
	})
	f.wantAnswer(c.instance, 7860, f.one)
	f.wantUntouched("by the death of the new process", streams)
}
