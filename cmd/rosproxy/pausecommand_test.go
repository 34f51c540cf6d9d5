package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/discovery/consultest"
)

// tier is two instances that follow the same election.
type tier struct {
	t         *testing.T
	consul    *consultest.Server
	one, two  *worker
	instances []*running
}

func startTier(t *testing.T, args ...string) *tier {
	t.Helper()
	tr := &tier{t: t, consul: startConsul(t), one: startWorker(t, "one"), two: startWorker(t, "two")}
	tr.consul.Register(tr.one.service(asMaster, inGroup), tr.two.service(asSlave, inGroup))
	for range 2 {
		p := startProgram(t, append([]string{"--consul-addr=" + tr.consul.Addr}, args...)...)
		p.awaitReady()
		tr.instances = append(tr.instances, p)
	}
	return tr
}

// switchOver makes two the master.
func (tr *tier) switchOver() {
	tr.consul.SetTags("one", asSlave, inGroup)
	tr.consul.SetTags("two", asMaster, inGroup)
}

// wantNothingPaused checks it at once: the command has ended.
func (tr *tier) wantNothingPaused() {
	tr.t.Helper()
	for _, p := range tr.instances {
		if a := p.paused(); len(a) > 0 {
			tr.t.Errorf("paused when the command has ended: got %+v; want nothing", a)
		}
	}
}

// pausing is a run of `rosproxy pause`.
type pausing struct {
	t       *testing.T
	signals chan os.Signal
	out     syncBuffer
	errs    syncBuffer
	ended   chan struct{}
	code    int
}

// pause runs the command pause at all instances, with these arguments.
func (tr *tier) pause(args ...string) *pausing {
	c := &pausing{t: tr.t, signals: make(chan os.Signal, 2), ended: make(chan struct{})}
	all := []string{"pause"}
	for _, p := range tr.instances {
		all = append(all, "--admin=unix:"+p.socket)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(c.ended)
		c.code = Program{Args: append(all, args...), Stdout: &c.out, Stderr: &c.errs, Signals: c.signals}.Run(ctx)
	}()
	tr.t.Cleanup(func() { cancel(); <-c.ended })
	return c
}

func (c *pausing) end(code int, says string) {
	c.t.Helper()
	select {
	case <-c.ended:
	case <-time.After(2 * testTimeout):
		c.t.Fatalf("the command pause still runs after %v: %s", 2*testTimeout, c.errs.String())
	}
	if c.code != code || !strings.Contains(c.errs.String(), says) {
		c.t.Errorf("got status %d, %q; want %d and that it says %q", c.code, c.errs.String(), code, says)
	}
}

// stepped is a command that tells that it runs, and ends when it is told how.
type stepped struct {
	t    *testing.T
	dir  string
	args []string
}

func newStepped(t *testing.T) *stepped {
	s := &stepped{t: t, dir: t.TempDir()}
	s.args = []string{"sh", "-c", `trap 'touch "$0/signalled"; exit 7' TERM; touch "$0/runs"; while [ ! -e "$0/end" ]; do sleep 0.02; done; echo done; exit $(cat "$0/end")`, s.dir}
	return s
}

func (s *stepped) has(name string) bool {
	_, err := os.Stat(filepath.Join(s.dir, name))
	return err == nil
}

func (s *stepped) awaitRunning() {
	s.t.Helper()
	eventually(s.t, "the command to run", func() bool { return s.has("runs") })
}

func (s *stepped) end(status int) {
	s.t.Helper()
	path := filepath.Join(s.dir, "end")
	if err := os.WriteFile(path+".new", fmt.Append(nil, status), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		s.t.Fatal(err)
	}
}

// TestPauseRunsTheCommandWhenAllAreQuiet: clients of all instances wait meanwhile, and
// go to the new master when it has switched over.
func TestPauseRunsTheCommandWhenAllAreQuiet(t *testing.T) {
	tr := startTier(t)
	live := tr.instances[1].connected(tr.one)
	s := newStepped(t)
	c := tr.pause(append([]string{"--label=default", "--for=2s", "--wait=20s", "--"}, s.args...)...)
	for _, p := range tr.instances {
		p.awaitReason("paused: default")
	}
	live.isAlive()
	if s.has("runs") {
		t.Fatal("the command runs while an instance has a live connection")
	}
	live.Close()
	s.awaitRunning()
	held := []*client{tr.instances[0].dial(), tr.instances[1].dial()}
	time.Sleep(3 * time.Second) // longer than --for
	for _, p := range tr.instances {
		p.awaitHeld(1)
	}
	tr.switchOver()
	for _, h := range held { // an election ends the pause at once, whatever the command does
		h.greetedBy(tr.two)
	}
	s.end(0)
	c.end(0, "")
	if got := c.out.String(); got != "done\n" {
		t.Errorf("output: got %q; want the command's alone", got)
	}
	tr.wantNothingPaused()
	for _, p := range tr.instances {
		p.saysOnce("paused")
		p.saysOnce("resumed", "reason", "another master was elected")
		p.connected(tr.two)
	}
}

func TestPauseExitsWithTheCommandsStatus(t *testing.T) {
	tr := startTier(t)
	held := make([]*client, 0, 2)
	s := newStepped(t)
	began := time.Now()
	c := tr.pause(append([]string{"--settle=1m", "--"}, s.args...)...)
	s.awaitRunning()
	for _, p := range tr.instances {
		held = append(held, p.dial())
	}
	s.end(3)
	c.end(3, "")
	if took := time.Since(began); took > time.Minute {
		t.Errorf("took %v; want no wait for another master after a command that failed", took)
	}
	tr.wantNothingPaused()
	for _, h := range held {
		h.greetedBy(tr.one)
		h.Close()
	}
	paused := len(tr.instances[0].log.lines(t, "paused"))
	tr.pause("--", "/does/not/exist").end(127, "no such file or directory: nothing was paused")
	tr.pause("--", "no-such-command-anywhere").end(127, "nothing was paused")
	if n := len(tr.instances[0].log.lines(t, "paused")); n != paused {
		t.Errorf("paused %d times for a command that is not there; want none", n-paused)
	}
	tr.pause("--", "sh", "-c", "kill -9 $$").end(128+9, "")
	tr.pause("--settle=0s", "--", "true").end(0, "")
	tr.pause("--settle=50ms", "--", "true").end(0, tr.instances[1].socket+": no other master within 50ms after the command: its clients are released on "+tr.one.l.Addr().String())
	tr.wantNothingPaused()
}

// TestSignalGoesToTheCommand, whose end is awaited; and a hangup is a signal
// too: the operator's terminal has died.
func TestSignalGoesToTheCommand(t *testing.T) {
	tr := startTier(t)
	s := newStepped(t)
	c := tr.pause(append([]string{"--"}, s.args...)...)
	s.awaitRunning()
	c.signals <- syscall.SIGTERM
	c.end(7, "")
	if !s.has("signalled") {
		t.Error("the command has not had the signal")
	}
	tr.wantNothingPaused()

	s = newStepped(t)
	c = tr.pause("--", "sh", "-c", `touch "$0/runs"; exec sleep 60`, s.dir)
	s.awaitRunning()
	c.signals <- syscall.SIGHUP
	c.end(128+int(syscall.SIGHUP), "")
	tr.wantNothingPaused()
}

// openTerminal gives the two ends of a pseudo terminal.
func openTerminal(t *testing.T) (ours, theirs *os.File) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close() })
	fd := int(ours.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return ours, theirs
}

// TestPausedLabelResumesWhenTheOperatorsTerminalDies: by the hangup, or, where
// the process is killed with it, when its pause has lasted for as long as it may.
func TestPausedLabelResumesWhenTheOperatorsTerminalDies(t *testing.T) {
	for name, kill := range map[string]bool{"hung up": false, "killed": true} {
		t.Run(name, func(t *testing.T) {
			tr := startTier(t)
			ours, theirs := openTerminal(t)
			s := newStepped(t)
			t.Cleanup(func() { s.end(0) }) // of a command whose parent was killed
			args := []string{"pause", "--for=3s"}
			for _, p := range tr.instances {
				args = append(args, "--admin=unix:"+p.socket)
			}
			c := command(t, append(append(args, "--"), s.args...)...)
			c.Stdin, c.Stdout, c.Stderr = theirs, theirs, theirs
			c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			theirs.Close()
			s.awaitRunning()
			held := tr.instances[0].dial()
			tr.instances[0].awaitHeld(1)
			if kill {
				if err := c.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
			ours.Close()
			_ = c.Wait()
			if !kill {
				tr.wantNothingPaused()
			}
			held.greetedBy(tr.one)
			tr.instances[1].awaitReady()
		})
	}
}

func TestPauseGivesUpWhenAnInstanceStaysBusy(t *testing.T) {
	tr := startTier(t)
	live := tr.instances[1].connected(tr.one)
	s := newStepped(t)
	c := tr.pause(append([]string{"--wait=1s", "--"}, s.args...)...)
	c.end(1, "unix:"+tr.instances[1].socket+": not quiet within 1s: 1 live")
	tr.wantNothingPaused()
	live.isAlive()
	if s.has("runs") {
		t.Error("the command has run")
	}
	c = tr.pause("--wait=1m")
	tr.instances[0].awaitPaused()
	c.signals <- os.Interrupt
	c.end(1, "interrupted: nothing stays paused")
	tr.wantNothingPaused()
}

// TestPauseTouchesNobodyWhenAnInstanceDoesNotAnswer, or another command has
// paused: nothing is held in vain, and the other's pause stays.
func TestPauseTouchesNobodyWhenAnInstanceDoesNotAnswer(t *testing.T) {
	tr := startTier(t)
	tr.instances[1].pause("label=default&by=op&for=10m")
	s := newStepped(t)
	tr.pause(append([]string{"--"}, s.args...)...).end(1, `paused by "op"`)
	if a := tr.instances[1].paused(); len(a) != 1 || a[0].By != "op" {
		t.Errorf("the other's pause: got %+v; want it there", a)
	}
	if a := tr.instances[0].paused(); len(a) != 0 {
		t.Errorf("paused: got %+v; want nothing", a)
	}
	tr.instances[1].resume()

	gone := *tr.instances[1]
	gone.socket = filepath.Join(t.TempDir(), "nobody")
	tr.instances = append(tr.instances, &gone)
	tr.pause(append([]string{"--"}, s.args...)...).end(1, "unix:"+gone.socket)
	tr.pause("--label=nope").end(1, "nobody")
	tr.instances = tr.instances[:2]
	tr.pause("--label=nope").end(1, `it has no label "nope"`)
	for _, p := range tr.instances {
		if n := len(p.log.lines(t, "paused")); n > 1 {
			t.Errorf("paused %d times; want only what was to be refused", n)
		}
	}
	if s.has("runs") {
		t.Error("the command has run")
	}
}

// TestPauseWithoutACommandStaysUntilItIsResumed.
func TestPauseWithoutACommandStaysUntilItIsResumed(t *testing.T) {
	tr := startTier(t)
	c := tr.pause("--for=5m", "--json")
	c.end(0, "")
	var d struct {
		Label     string
		Instances []struct {
			Admin string
			Pause struct {
				Paused bool
				By     string
			}
		}
	}
	if err := json.Unmarshal([]byte(c.out.String()), &d); err != nil || d.Label != "default" || len(d.Instances) != 2 || !d.Instances[1].Pause.Paused {
		t.Errorf("got %s, %v; want both instances, paused", c.out.String(), err)
	}
	held := tr.instances[0].dial()
	tr.instances[0].awaitHeld(1)
	tr.pause().end(1, "paused by")

	var out, errs bytes.Buffer
	args := []string{"resume", "--label=default"}
	for _, p := range tr.instances {
		args = append(args, "--admin=unix:"+p.socket)
	}
	if code := (Program{Args: args, Stdout: &out, Stderr: &errs}).Run(t.Context()); code != 0 || strings.Count(out.String(), "not paused") != 2 {
		t.Errorf("resume: got %d, %s, %s; want 0 and two lines of what is not paused", code, out.String(), errs.String())
	}
	tr.wantNothingPaused()
	held.greetedBy(tr.one)
}

// TestFailoverByAccidentEndsThePauseAndTheCommandDoesNotRun.
func TestFailoverByAccidentEndsThePauseAndTheCommandDoesNotRun(t *testing.T) {
	tr := startTier(t)
	live := tr.instances[0].connected(tr.one)
	s := newStepped(t)
	c := tr.pause(append([]string{"--wait=1m", "--"}, s.args...)...)
	tr.instances[0].awaitReason("paused: default")
	held := tr.instances[0].dial()
	tr.instances[0].awaitHeld(1)
	tr.switchOver()
	live.isReset()
	held.greetedBy(tr.two)
	c.end(1, "its pause is over already")
	tr.wantNothingPaused()
	if s.has("runs") {
		t.Error("the command has run")
	}
}

// TestInstanceThatIsLateIsWaitedFor: its clients wait for the master that it does not know yet.
func TestInstanceThatIsLateIsWaitedFor(t *testing.T) {
	tr := startTier(t)
	late := startConsul(t) // another one, which says the same, but later
	late.Register(tr.one.service(asMaster, inGroup), tr.two.service(asSlave, inGroup))
	p := startProgram(t, "--consul-addr="+late.Addr)
	p.awaitReady()
	tr.instances[1] = p
	s := newStepped(t)
	c := tr.pause(append([]string{"--settle=1m", "--"}, s.args...)...)
	s.awaitRunning()
	tr.switchOver()
	s.end(0)
	tr.instances[0].awaitReady()
	held := p.dial()
	p.awaitHeld(1)
	time.Sleep(500 * time.Millisecond)
	select {
	case <-c.ended:
		t.Fatalf("it has ended with %d, and an instance has the old master: %s", c.code, c.errs.String())
	default:
	}
	late.SetTags("one", asSlave, inGroup)
	late.SetTags("two", asMaster, inGroup)
	held.greetedBy(tr.two)
	c.end(0, "")
	tr.wantNothingPaused()
}

// TestPauseThatRunsOutUnderTheCommandIsSaid: its instance cannot be reached, so that
// its clients go to the old master while the command runs.
func TestPauseThatRunsOutUnderTheCommandIsSaid(t *testing.T) {
	tr := startTier(t)
	listen := tr.instances[1].label().Listen
	away, back := tr.instances[1].byRelay()
	s := newStepped(t)
	c := tr.pause(append([]string{"--for=2s", "--"}, s.args...)...)
	s.awaitRunning()
	away()
	name := "rosproxy: unix:" + tr.instances[1].socket + ": "
	eventually(t, "the pause that may have run out to be said", func() bool {
		said := c.errs.String()
		return strings.Contains(said, name+"its pause may have run out while the command runs, since it could not be prolonged for 2s (POST /pause: connect: no such file or directory): "+
			"its clients may be on the old master, "+tr.one.l.Addr().String()+"\n")
	})
	dialProxy(t, listen).greetedBy(tr.one)
	back()
	eventually(t, "it to be said that the pause is over", func() bool {
		return strings.Contains(c.errs.String(), name+"its pause is over while the command runs: its clients are on the old master, "+tr.one.l.Addr().String()+"\n")
	})
	s.end(3)
	c.end(3, "")
	if n := strings.Count(c.errs.String(), "while the command runs"); n != 2 {
		t.Errorf("got %d lines of pauses that are over; want 2: %s", n, c.errs.String())
	}
	tr.wantNothingPaused()
}

// byRelay has commands reach p through a relay, which can be taken away with all
// connections, and be brought back.
func (p *running) byRelay() (away, back func()) {
	p.t.Helper()
	real := p.socket
	p.socket = filepath.Join(filepath.Dir(real), "relay")
	var relay *http.Server
	back = func() {
		p.t.Helper()
		l, err := net.Listen("unix", p.socket)
		if err != nil {
			p.t.Fatal(err)
		}
		relay = &http.Server{Handler: &httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: "rosproxy"}) },
			Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", real)
			}},
		}}
		go func(relay *http.Server) { _ = relay.Serve(l) }(relay) // until it is closed
	}
	away = func() { relay.Close() }
	back()
	p.t.Cleanup(func() { relay.Close() })
	return away, back
}

// TestPauseThatSomebodyEndsUnderTheCommandIsSaid.
func TestPauseThatSomebodyEndsUnderTheCommandIsSaid(t *testing.T) {
	tr := startTier(t)
	s := newStepped(t)
	c := tr.pause(append([]string{"--for=3s", "--"}, s.args...)...)
	s.awaitRunning()
	tr.instances[0].resume()
	eventually(t, "it to be said that the pause is over", func() bool {
		return strings.Contains(c.errs.String(), tr.instances[0].socket+": its pause is over while the command runs: its clients are on the old master")
	})
	s.end(4)
	c.end(4, "")
	if n := strings.Count(c.errs.String(), "while the command runs"); n != 1 {
		t.Errorf("got %d lines of pauses that are over; want 1: %s", n, c.errs.String())
	}
}

// TestUpgradeDuringAPauseIsNoTrouble: of an instance, while the command waits
// for silence, and while its own command runs.
func TestUpgradeDuringAPauseIsNoTrouble(t *testing.T) {
	consul, one, two := startConsul(t), startWorker(t, "one"), startWorker(t, "two")
	consul.Register(one.service(asMaster, inGroup), two.service(asSlave, inGroup))
	g := startGenerations(t, "--consul-addr="+consul.Addr)
	live := dialProxy(t, g.listen)
	live.greetedBy(one)
	tr := &tier{t: t, consul: consul, one: one, two: two, instances: []*running{{t: t, socket: g.admin, client: g.client}}}
	s := newStepped(t)
	c := tr.pause(append([]string{"--wait=1m", "--for=2s", "--"}, s.args...)...)
	g.await("the pause", func() bool { return len(g.pauses()) == 1 })
	next := g.upgrade(g.first)
	time.Sleep(time.Second)
	if s.has("runs") {
		t.Fatal("the command runs while the old process has a live connection")
	}
	live.Close()
	s.awaitRunning()
	g.upgrade(next)
	held := dialProxy(t, g.listen)
	time.Sleep(3 * time.Second) // longer than --for
	g.await("a held client", func() bool { a := g.pauses(); return len(a) == 1 && a[0].Held == 1 })
	tr.switchOver()
	held.greetedBy(two)
	s.end(0)
	c.end(0, "")
	tr.wantNothingPaused()
}

// TestShortConnectionsSeeNoSwitchover: not one fails, through either instance,
// though the old master is killed in it.
func TestShortConnectionsSeeNoSwitchover(t *testing.T) {
	tr := startTier(t)
	var traffic []*traffic
	for _, p := range tr.instances {
		traffic = append(traffic, startTraffic(t, p.label().Listen, 4))
	}
	for _, tf := range traffic {
		tf.awaitMore(t)
	}
	s := newStepped(t)
	c := tr.pause(append([]string{"--"}, s.args...)...)
	s.awaitRunning()
	tr.one.stop()
	tr.switchOver()
	s.end(0)
	c.end(0, "")
	for _, tf := range traffic {
		tf.awaitMore(t)
		tf.end(t)
	}
	tr.wantNothingPaused()
}
