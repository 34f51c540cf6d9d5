package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/api"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/events"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/hook"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/upgrade"
	"github.com/rosproxy/rosproxy/discovery/consultest"
	"github.com/rosproxy/rosproxy/drain/handover"
)

// scribbles is a file that commands of --on-failover write to, a line each.
type scribbles string

func newScribbles(t *testing.T) scribbles { return scribbles(filepath.Join(t.TempDir(), "scribbles")) }

func (s scribbles) lines() []string {
	b, _ := os.ReadFile(string(s))
	return slices.Collect(func(yield func(string) bool) {
		for line := range strings.Lines(string(b)) {
			if !yield(strings.TrimSuffix(line, "\n")) {
				return
			}
		}
	})
}

func (s scribbles) await(t *testing.T, want ...string) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("got %q; want %q", s.lines(), want)
		}
	}()
	eventually(t, "what the commands write", func() bool { return slices.Equal(s.lines(), want) })
}

func TestCommandRunsForWhatBecomesOfMasters(t *testing.T) {
	out := newScribbles(t)
	consul, one, p := follows(t, `--on-failover=echo "$ROSPROXY_EVENT $ROSPROXY_LABEL ${ROSPROXY_FROM:-none} ${ROSPROXY_TO:-none} $ROSPROXY_DROPPED" >>`+string(out))
	two := startWorker(t, "two")
	a, b := one.l.Addr().String(), two.l.Addr().String()
	p.connected(one)
	var want []string
	for _, step := range []struct {
		do   func()
		want string
	}{
		{func() { consul.SetTags("one", asSlave, inGroup) }, "lost default " + a + " none "},
		{func() { consul.SetTags("one", asMaster, inGroup) }, "back default none " + a + " "},
		{func() { consul.Register(two.service(asMaster, inGroup)) }, "failover default " + a + " " + b + " 1"},
		{func() { p.pause("label=default"); p.resume() }, "pause default none none "},
	} {
		step.do()
		want = append(want, step.want)
		out.await(t, want...)
	}
}

// TestCommandThatHangsHoldsUpNoFailoverAndNoEnd.
func TestCommandThatHangsHoldsUpNoFailoverAndNoEnd(t *testing.T) {
	out := newScribbles(t)
	consul, one, p := follows(t, "--on-failover=echo $$ >>"+string(out)+"; exec sleep 1000", "--drain-grace=0s")
	two := startWorker(t, "two")
	consul.Register(two.service(asSlave, inGroup))
	from, to := one, two
	for range 4 {
		live := p.connected(from)
		consul.SetTags(from.name, asSlave, inGroup)
		consul.SetTags(to.name, asMaster, inGroup)
		live.isReset()
		p.connected(to).Close()
		from, to = to, from
	}
	eventually(t, "the first command", func() bool { return len(out.lines()) == 1 })
	p.signals <- syscall.SIGTERM
	p.awaitEnd(exitOK)
	pid, err := strconv.Atoi(out.lines()[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
		t.Errorf("got %v of the command's process; want it gone with the program", err)
	}
	p.saysOnce("events without their command of --on-failover", "reason", "the process ends")
}

// TestCommandGetsNothingThatIsNotItsOwn: no listener, which would be kept open by it
// after the end of the process, no word to the service manager, and the signals
// of any other program. Nor does it after an upgrade, by which listeners are inherited;
// and of two generations one runs it.
func TestCommandGetsNothingThatIsNotItsOwn(t *testing.T) {
	out := newScribbles(t)
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte(`#!/bin/sh
[ "$ROSPROXY_EVENT" = failover ] || exit 0
fds=$(cd /proc/$$/fd && for f in *; do case $(readlink $f) in /dev/null|pipe:*|"$0"|"") ;; *) readlink $f ;; esac; done)
ignored=$(while read -r name value; do [ "$name" != SigIgn: ] || echo $value; done </proc/self/status)
echo "fds: $fds ignored: $((0x$ignored & 1<<12)) handover: $ROSPROXY_HANDOVER$NOTIFY_SOCKET$LISTEN_FDS by: $PPID" >>`+string(out)+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	consul, one, two := startConsul(t), startWorker(t, "one"), startWorker(t, "two")
	consul.Register(one.service(asMaster, inGroup), two.service(asSlave, inGroup))
	g := startGenerations(t, "--consul-addr="+consul.Addr, "--on-failover=exec "+script)
	g.awaitStatus("a master", func(s api.Status) bool { return s.Labels[0].Master != nil })
	line := func(pid int) string { return fmt.Sprintf("fds:  ignored: 0 handover:  by: %d", pid) }

	failOver(consul, one, two)
	out.await(t, line(g.first))
	live := dialProxy(t, g.listen) // keeps the first generation
	live.greetedBy(two)
	next := g.upgrade(g.first)
	failOver(consul, two, one)
	live.isReset()
	out.await(t, line(g.first), line(next))
	g.awaitGone(g.first)
	out.await(t, line(g.first), line(next)) // and not of the first generation as well
}

func failOver(consul *consultest.Server, from, to *worker) {
	consul.SetTags(from.name, asSlave, inGroup)
	consul.SetTags(to.name, asMaster, inGroup)
}

// TestProcessThatDoesNotServeYetRunsNoCommand: it hears of failovers before it takes
// over, as its predecessor does.
func TestProcessThatDoesNotServeYetRunsNoCommand(t *testing.T) {
	out := newScribbles(t)
	runner := hook.New("echo $ROSPROXY_EVENT >>"+string(out), nil, zerolog.Nop())
	upgrader := upgrade.NewUpgrader(upgrade.Config{})
	successor := &instance{hook: runner, upgrader: upgrader, takeover: upgrade.NewTakeover(&handover.Predecessor{}, nil, zerolog.Nop())}
	serving := &instance{hook: runner, upgrader: upgrader, takeover: upgrade.NewTakeover(nil, nil, zerolog.Nop())}
	ctx, cancel := context.WithCancel(t.Context())
	ended := serving.startHook(ctx)
	successor.offerToHook(events.Event{Name: "lost"})
	serving.offerToHook(events.Event{Name: "failover"}) // of the same label: it would come second
	out.await(t, "failover")
	cancel()
	<-ended
}
