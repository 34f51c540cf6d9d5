package hook

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/events"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testTimeout = 20 * time.Second

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(testTimeout); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for: %s", testTimeout, what)
		}
	}
}

// safeLog is a log that a test can read while it is written.
type safeLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *safeLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// lines are those with that message.
func (l *safeLog) lines(message string) (found []map[string]any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		var v map[string]any
		if json.Unmarshal([]byte(line), &v) == nil && v["message"] == message {
			found = append(found, v)
		}
	}
	return found
}

const (
	failed  = "command of --on-failover failed"
	done    = "command of --on-failover done"
	dropped = "events without their command of --on-failover"
)

// hooked is a Runner that runs, with a directory, in the variable DIR, for what its command writes.
type hooked struct {
	*Runner
	t     *testing.T
	dir   string
	log   *safeLog
	stop  func() // returns when Run has
	ended chan struct{}
}

func start(t *testing.T, command string, change ...func(*Runner)) *hooked {
	t.Helper()
	h := &hooked{t: t, dir: t.TempDir(), log: &safeLog{}, ended: make(chan struct{})}
	h.Runner = New(command, append(os.Environ(), "DIR="+h.dir, "ROSPROXY_REASON=of another",
		"NOTIFY_SOCKET=/x", "WATCHDOG_USEC=1", "WATCHDOG_PID=1", "LISTEN_PID=1", "LISTEN_FDS=3", "LISTEN_FDNAMES=a"), zerolog.New(h.log))
	for _, c := range change {
		c(h.Runner)
	}
	ctx, cancel := context.WithCancel(t.Context())
	h.stop = func() { cancel(); <-h.ended }
	go func() {
		defer close(h.ended)
		h.Run(ctx)
	}()
	t.Cleanup(h.stop)
	return h
}

func failover(label string, epoch uint64) events.Event {
	return events.Event{Name: "failover", Fields: []any{
		"label", label, "id", "f-1", "from", "10.0.0.1:1", "to", "10.0.0.2:1", "epoch", epoch, "dropped", 12,
	}}
}

// wrote waits until a file of the directory has lines lines, and answers them.
func (h *hooked) wrote(name string, lines int) []string {
	h.t.Helper()
	var got []string
	eventually(h.t, fmt.Sprintf("%d lines in %s", lines, name), func() bool {
		b, _ := os.ReadFile(filepath.Join(h.dir, name))
		got = strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
		return strings.Count(string(b), "\n") >= lines
	})
	return got
}

func TestCommandIsToldTheFacts(t *testing.T) {
	h := start(t, `env | grep -E '^(ROSPROXY_|NOTIFY|WATCHDOG|LISTEN)' | sort | tr '\n' ' ' >>$DIR/facts; echo >>$DIR/facts`)
	for i, c := range []struct {
		event events.Event
		want  string
	}{
		{failover("eu", 7), "ROSPROXY_DROPPED=12 ROSPROXY_EPOCH=7 ROSPROXY_EVENT=failover ROSPROXY_FROM=10.0.0.1:1 ROSPROXY_ID=f-1 ROSPROXY_LABEL=eu ROSPROXY_REASON= ROSPROXY_TO=10.0.0.2:1 "},
		{events.Event{Name: "lost", Fields: []any{"label", "eu", "master", "10.0.0.1:1", "connections", "kept", "live", 2, "reason", "nobody\x00 is; $(id)"}},
			"ROSPROXY_DROPPED= ROSPROXY_EPOCH= ROSPROXY_EVENT=lost ROSPROXY_FROM=10.0.0.1:1 ROSPROXY_ID= ROSPROXY_LABEL=eu ROSPROXY_REASON=nobody is; $(id) ROSPROXY_TO= "},
		{events.Event{Name: "back", Fields: []any{"label", "eu", "master", "10.0.0.1:1", "lost_ms", 1.5}},
			"ROSPROXY_DROPPED= ROSPROXY_EPOCH= ROSPROXY_EVENT=back ROSPROXY_FROM= ROSPROXY_ID= ROSPROXY_LABEL=eu ROSPROXY_REASON= ROSPROXY_TO=10.0.0.1:1 "},
		{events.Event{Name: "pause", Fields: []any{"label", "eu", "by", "op"}},
			"ROSPROXY_DROPPED= ROSPROXY_EPOCH= ROSPROXY_EVENT=pause ROSPROXY_FROM= ROSPROXY_ID= ROSPROXY_LABEL=eu ROSPROXY_REASON=op ROSPROXY_TO= "},
		{events.Event{Name: "activation", Fields: []any{"from", "dc1", "to", "dc2", "term", 9}},
			"ROSPROXY_DROPPED= ROSPROXY_EPOCH=9 ROSPROXY_EVENT=activation ROSPROXY_FROM=dc1 ROSPROXY_ID= ROSPROXY_LABEL= ROSPROXY_REASON= ROSPROXY_TO=dc2 "},
	} {
		h.Offer(events.Event{Name: "resume", Fields: []any{"label", "eu"}}) // for which nothing is run
		h.Offer(events.Event{Name: "drain"})
		h.Offer(c.event)
		if got := h.wrote("facts", i+1)[i]; got != c.want {
			t.Errorf("%s: got %s; want %s", c.event.Name, got, c.want)
		}
	}
	h.stop()
	if got := h.wrote("facts", 5); len(got) != 5 {
		t.Errorf("got %d runs; want 5", len(got))
	}
	if got := h.log.lines(done); len(got) != 5 {
		t.Errorf("got %d lines of success; want 5", len(got))
	}
}

// TestOneLabelsCommandsRunOneAfterTheOther: in the order of the events, while
// those of other labels go on, a few at a time.
func TestOneLabelsCommandsRunOneAfterTheOther(t *testing.T) {
	h := start(t, `
		echo "$ROSPROXY_LABEL begins $ROSPROXY_EPOCH" >>$DIR/runs
		[ "$ROSPROXY_LABEL" != slow ] || until [ -e $DIR/go ]; do sleep 0.01; done
		echo "$ROSPROXY_LABEL ends $ROSPROXY_EPOCH" >>$DIR/runs`)
	h.Offer(failover("slow", 1))
	h.Offer(failover("slow", 2))
	for epoch := range uint64(3) {
		h.Offer(failover("quick", epoch))
	}
	if got := h.wrote("runs", 7); slices.Contains(got, "slow begins 2") {
		t.Errorf("got %v; want the second of slow to wait for the first", got)
	}
	if err := os.WriteFile(filepath.Join(h.dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	got := h.wrote("runs", 10)
	for label, want := range map[string]string{"slow": "begins 1 ends 1 begins 2 ends 2", "quick": "begins 0 ends 0 begins 1 ends 1 begins 2 ends 2"} {
		var own []string
		for _, line := range got {
			if rest, ok := strings.CutPrefix(line, label+" "); ok {
				own = append(own, rest)
			}
		}
		if strings.Join(own, " ") != want {
			t.Errorf("%s: got %v; want %s", label, own, want)
		}
	}
}

// TestManyFailoversAtOnceRunAFewCommandsAtATime: and those for which there is no
// room are counted in one line.
func TestManyFailoversAtOnceRunAFewCommandsAtATime(t *testing.T) {
	const labels = 4000
	h := start(t, `echo >$DIR/$$.run; until [ -e $DIR/go ]; do sleep 0.05; done; [ ! -e $DIR/count ] || echo >>$DIR/all`)
	begun := time.Now()
	for i := range labels {
		h.Offer(failover("label-"+strconv.Itoa(i), 1))
	}
	offered := time.Since(begun)
	t.Logf("%d events offered in %v", labels, offered)
	runs := func() int {
		found, _ := filepath.Glob(filepath.Join(h.dir, "*.run"))
		return len(found)
	}
	eventually(t, "the first commands", func() bool { return runs() == atATime })
	// All but the queue and those that run: in one line, where the offers took less than a second.
	var lines []map[string]any
	n := 0
	eventually(t, "the line of what was dropped", func() bool {
		lines, n = h.log.lines(dropped), 0
		for _, l := range lines {
			n += int(l["events"].(float64))
		}
		return n >= labels-queueLength-atATime
	})
	if got := runs(); got != atATime {
		t.Errorf("got %d commands at a time; want %d", got, atATime)
	}
	if n > labels-queueLength || len(lines) > 1+int(offered/dropsEvery) {
		t.Errorf("got %d of %d dropped, in %d lines; want all but the queue of %d and the %d that run", n, labels, len(lines), queueLength, atATime)
	}
	h.stop() // what waits is dropped as well, and said
	said := len(lines)
	lines = h.log.lines(dropped)
	if len(lines) != said+1 || int(lines[said]["events"].(float64)) != labels-n-atATime || lines[said]["reason"] != "the process ends" {
		t.Errorf("got %v; want one line more, of all that waited", lines)
	}
}

func TestFailureIsALogLine(t *testing.T) {
	for name, c := range map[string]struct{ command, err, stderr string }{
		"a status":         {"echo out; echo trouble >&2; exit 3", "exit status 3", "trouble"},
		"a signal":         {"kill -TERM $$", "signal: terminated", ""},
		"no such command":  {"/nowhere/x", "exit status 127", "not found"},
		"much to say":      {"yes trouble | head -c 3000000 >&2; echo last >&2; exit 1", "exit status 1", "trouble\nlast"},
		"bytes of no text": {`printf 'a\377\033b' >&2; exit 1`, "exit status 1", "a\x1bb"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := start(t, c.command)
			h.Offer(failover("eu", 1))
			eventually(t, "the line", func() bool { return len(h.log.lines(failed)) == 1 })
			l := h.log.lines(failed)[0]
			said := l["stderr"].(string)
			if l["level"] != "warn" || l["label"] != "eu" || l["event"] != "failover" || l["error"] != c.err || !strings.HasSuffix(said, c.stderr) && !strings.Contains(said, c.stderr) {
				t.Errorf("got %v; want %s and %q", l, c.err, c.stderr)
			}
			if len(said) > maxSaid {
				t.Errorf("got %d bytes of stderr; want %d at most", len(said), maxSaid)
			}
		})
	}
}

// isGone reports whether the process whose id a file has, lives no more.
func (h *hooked) isGone(file string) bool {
	h.t.Helper()
	pid, err := strconv.Atoi(h.wrote(file, 1)[0])
	if err != nil {
		h.t.Fatal(err)
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(b), ") Z ")
}

// TestCommandThatTakesTooLongIsKilledWithItsGroup: also one that hears no signal.
func TestCommandThatTakesTooLongIsKilledWithItsGroup(t *testing.T) {
	for patience := 300 * time.Millisecond; ; patience *= 4 { // on a busy machine the shell may not get as far
		h := start(t, `trap '' TERM INT; sleep 1000 & echo $! >$DIR/child; echo $$ >$DIR/shell; wait`, func(r *Runner) { r.patience = patience })
		h.Offer(failover("eu", 1))
		eventually(t, "the line", func() bool { return len(h.log.lines(failed)) == 1 })
		if l := h.log.lines(failed)[0]; l["error"] != fmt.Sprintf("killed after %v", patience) {
			t.Errorf("got %v; want it killed", l)
		}
		if _, err := os.Stat(filepath.Join(h.dir, "shell")); err != nil && patience < testTimeout {
			continue
		}
		eventually(t, "the end of both", func() bool { return h.isGone("shell") && h.isGone("child") })
		return
	}
}

// TestWhatACommandLeavesBehindEndsWithIt: or commands would be bounded in number by name alone.
func TestWhatACommandLeavesBehindEndsWithIt(t *testing.T) {
	h := start(t, `sleep 1000 & echo $! >$DIR/child`)
	h.Offer(failover("eu", 1))
	eventually(t, "the line", func() bool { return len(h.log.lines(done)) == 1 })
	eventually(t, "the end of what it left", func() bool { return h.isGone("child") })
}

// TestDescendantInAGroupOfItsOwnDelaysNothing: though it keeps the pipe of stderr open.
func TestDescendantInAGroupOfItsOwnDelaysNothing(t *testing.T) {
	h := start(t, `setsid sh -c 'echo >$DIR/away; exec sleep 1000' & echo $! >$DIR/child; until [ -e $DIR/away ]; do sleep 0.01; done`)
	h.Offer(failover("eu", 1))
	eventually(t, "the line", func() bool { return len(h.log.lines(done)) == 1 })
	if h.isGone("child") {
		t.Error("got it killed; want it left alone")
	}
	pid, _ := strconv.Atoi(h.wrote("child", 1)[0])
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}

// TestEndOfTheProcessWaitsForCommandsForAMoment.
func TestEndOfTheProcessWaitsForCommandsForAMoment(t *testing.T) {
	t.Run("for one that ends", func(t *testing.T) {
		t.Parallel()
		h := start(t, `echo >$DIR/runs; sleep 0.5; echo >$DIR/ended`)
		h.Offer(failover("eu", 1))
		h.wrote("runs", 1)
		h.stop()
		if got := h.log.lines(done); len(got) != 1 {
			t.Errorf("got %v; want it done", got)
		}
	})
	t.Run("not for one that does not", func(t *testing.T) {
		t.Parallel()
		h := start(t, `echo $$ >$DIR/shell; exec sleep 1000`)
		h.Offer(failover("eu", 1))
		h.wrote("shell", 1)
		begun := time.Now()
		h.stop()
		if took := time.Since(begun); took > patience/2 {
			t.Errorf("got the end after %v; want it after %v", took, endGrace)
		}
		if got := h.log.lines(failed); len(got) != 1 || got[0]["error"] != "killed, since the process ends" || !h.isGone("shell") {
			t.Errorf("got %v; want it killed", got)
		}
	})
}
