package main

import (
	"errors"
	"net"
	"net/http"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/api"
)

// tookBack is what a process says that serves again in place of its successor.
const tookBack = "the process that took over has failed, serving again"

// awaitClosed waits until no process listens for clients.
func (g *generations) awaitClosed() {
	g.t.Helper()
	g.await("the port to be closed", func() bool {
		c, err := net.Dial("tcp", g.listen)
		if err == nil {
			c.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
}

// upgraded is a process that drains with a live connection, and its successor.
func upgraded(t *testing.T) (g *generations, one *worker, live *client, next int) {
	t.Helper()
	one = startWorker(t, "one")
	g = startGenerations(t, "--static-master="+one.l.Addr().String())
	live = dialProxy(t, g.listen)
	live.greetedBy(one)
	return g, one, live, g.upgrade(g.first)
}

func (g *generations) wantServing(what string, pid int) {
	g.t.Helper()
	g.awaitStatus(what, func(s api.Status) bool { return s.PID == pid && s.State == "serving" })
}

// do has the process at the admin address do something.
func (g *generations) do(method, path string, want int) {
	g.t.Helper()
	request, err := http.NewRequest(method, "http://rosproxy"+path, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	r, err := g.client.Do(request)
	if err != nil {
		g.t.Fatalf("%s %s: %v", method, path, err)
	}
	r.Body.Close()
	if r.StatusCode != want {
		g.t.Fatalf("%s %s: got %d; want %d", method, path, r.StatusCode, want)
	}
}

func TestOldGenerationServesAgainWhenTheOneThatTookOverDies(t *testing.T) {
	g, one, live, next := upgraded(t)
	newer := dialProxy(t, g.listen)
	newer.greetedBy(one)
	short := startTraffic(t, g.listen, 2)
	short.awaitMore(t)
	g.signal(next, syscall.SIGSTOP) // none of the traffic is in it when it dies
	g.signal(next, syscall.SIGKILL)
	g.awaitLine(tookBack)
	short.awaitMore(t)
	newest := dialProxy(t, g.listen)
	newest.greetedBy(one)
	newest.Close()
	live.isAlive()
	g.wantServing("the old one", g.first)

	// All is as before: it can be drained, and replaced.
	g.do(http.MethodPost, "/drain?grace=0s", http.StatusAccepted)
	g.do(http.MethodDelete, "/drain", http.StatusOK)
	last := g.upgrade(g.first)
	dialProxy(t, g.listen).greetedBy(one)
	live.isAlive()
	live.Close()
	g.awaitGone(g.first)
	g.wantServing("the last one", last)
}

// Of a chain of generations the youngest that lives serves.
func TestYoungestGenerationThatLivesServes(t *testing.T) {
	g, one, live, second := upgraded(t)
	inSecond := dialProxy(t, g.listen)
	inSecond.greetedBy(one)
	third := g.upgrade(second)
	g.signal(third, syscall.SIGKILL)
	g.wantServing("the second", second)
	g.signal(second, syscall.SIGKILL)
	g.wantServing("the first", g.first)
	dialProxy(t, g.listen).greetedBy(one)
	live.isAlive()
}

func TestFirstGenerationServesAgainThoughTheSecondHasEnded(t *testing.T) {
	g, one, live, second := upgraded(t)
	third := g.upgrade(second)
	g.awaitGone(second) // it has no connections
	dialProxy(t, g.listen).greetedBy(one)
	if n := len(g.lines(tookBack)); n > 0 {
		t.Errorf("got %d generations that serve again; want none while the third lives", n)
	}
	g.signal(third, syscall.SIGKILL)
	g.wantServing("the first", g.first)
	dialProxy(t, g.listen).greetedBy(one)
	live.isAlive()
}

func TestEndInGoodOrderIsNotUndoneByAnOlderGeneration(t *testing.T) {
	g, _, live, next := upgraded(t)
	g.signal(next, syscall.SIGTERM)
	g.awaitGone(next)
	g.awaitClosed()
	if _, err := os.Stat(g.admin); !os.IsNotExist(err) {
		t.Errorf("got %v; want the admin socket removed", err)
	}
	live.isAlive()
	if n := len(g.lines(tookBack)); n > 0 {
		t.Errorf("got %d generations that serve again; want none", n)
	}
	live.Close()
	g.awaitGone(g.first)
}

// A second signal ends the service at once, with the listeners open: that is no
// death, to whichever generation it is told.
func TestSecondSignalEndsTheServiceThoughAnOlderGenerationLives(t *testing.T) {
	g, _, live, second := upgraded(t)
	third := g.upgrade(second)
	g.awaitGone(second)
	g.do(http.MethodPost, "/drain?grace=10m&exit=true", http.StatusAccepted)
	g.signal(third, syscall.SIGTERM)
	g.awaitLine("signal: draining") // two that are pending are one
	g.signal(third, syscall.SIGTERM)
	g.awaitGone(third)
	g.awaitClosed()
	live.isAlive()
	if n := len(g.lines(tookBack)); n > 0 {
		t.Errorf("got %d generations that serve again; want none", n)
	}
}

func TestOldGenerationThatWasTerminatedDoesNotServeAgain(t *testing.T) {
	g, _, live, next := upgraded(t)
	g.signal(g.first, syscall.SIGTERM)
	g.awaitLine("drain will end the process")
	g.signal(next, syscall.SIGKILL)
	g.awaitClosed()
	live.isAlive()
	live.Close()
	g.awaitGone(g.first)
}

// A drained instance is out of service by an operator's wish: nobody is to take its place.
func TestListenersThatTheSuccessorClosedStayClosedWhenItDies(t *testing.T) {
	g, _, live, next := upgraded(t)
	g.do(http.MethodPost, "/drain?grace=0s", http.StatusAccepted)
	g.awaitClosed() // though the old process has the socket
	g.signal(next, syscall.SIGKILL)
	g.awaitLine("the process that took over has failed, nobody accepts connections")
	g.awaitClosed()
	live.isAlive()
}

// aSuccessorThat is one that a script stands for; it has said that it is ready.
func aSuccessorThat(t *testing.T, does string, args ...string) (g *generations, one *worker, pid int) {
	t.Helper()
	one = startWorker(t, "one")
	g = startGenerations(t, append(args, "--static-master="+one.l.Addr().String())...)
	g.replace("printf r >&3; " + does)
	g.signal(g.first, syscall.SIGUSR2)
	pid = int(g.awaitLine("upgrade started")["pid"].(float64))
	return g, one, pid
}

// readsTakeOver takes off the message by which a successor is told to take over, and leaves a mark.
const readsTakeOver = `head -c 1 <&3 >/dev/null; : > "$0.told"; `

func (g *generations) awaitToldToTakeOver() {
	g.t.Helper()
	g.await("the successor to be told to take over", func() bool {
		_, err := os.Stat(g.path + ".told")
		return err == nil
	})
}

func TestSuccessorThatHangsWhenToldToTakeOverIsEndedAndTheOldOneGoesOn(t *testing.T) {
	g, one, pid := aSuccessorThat(t, readsTakeOver+"sleep 1000", "--upgrade-timeout=500ms")
	short := startTraffic(t, g.listen, 2)
	line := g.awaitLine("upgrade failed, going on as before")
	if line["ended"] != "signal: killed" {
		t.Errorf("got ended %q; want it killed", line["ended"])
	}
	short.awaitMore(t)
	short.end(t)
	dialProxy(t, g.listen).greetedBy(one)
	g.wantServing("the old one", g.first)
	g.await("the end of the successor", func() bool { return !g.hasGroup(pid) })
}

// hasGroup reports whether a process of the group pid has anything open still: a
// zombie whose parent does not reap it has not.
func (g *generations) hasGroup(pid int) bool {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		g.t.Fatal(err)
	}
	for _, e := range entries {
		process, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if group, err := syscall.Getpgid(process); err == nil && group == pid {
			if fds, err := os.ReadDir("/proc/" + e.Name() + "/fd"); err == nil && len(fds) > 0 {
				return true
			}
		}
	}
	return false
}

// At every step of an upgrade the signal is obeyed at once: none waits for the
// successor, which in these tests never answers.
func TestTerminatedAtAnyStepOfAnUpgradeDrainsAtOnce(t *testing.T) {
	for name, script := range map[string]string{
		"not ready":         "exec sleep 1000",
		"told to take over": "printf r >&3; " + readsTakeOver + "sleep 1000",
		"stopped":           "printf r >&3; " + readsTakeOver + "kill -STOP $$",
	} {
		t.Run(name, func(t *testing.T) {
			one := startWorker(t, "one")
			g := startGenerations(t, "--static-master="+one.l.Addr().String(), "--upgrade-timeout=10m")
			live := dialProxy(t, g.listen)
			live.greetedBy(one)
			g.replace(script)
			g.signal(g.first, syscall.SIGUSR2)
			pid := int(g.awaitLine("upgrade started")["pid"].(float64))
			if name != "not ready" {
				g.awaitToldToTakeOver()
			}
			g.signal(g.first, syscall.SIGTERM)
			g.awaitLine("drain started")
			if line := g.awaitLine("upgrade failed, going on as before"); line["ended"] != "signal: killed" {
				t.Errorf("got ended %q; want it killed", line["ended"])
			}
			live.isAlive()
			g.signal(g.first, syscall.SIGTERM)
			g.awaitGone(g.first)
			g.await("the end of the successor", func() bool { return !g.hasGroup(pid) })
		})
	}
}

func TestDrainCallsAnUpgradeOff(t *testing.T) {
	g, one, _ := aSuccessorThat(t, readsTakeOver+"sleep 1000", "--upgrade-timeout=10m")
	g.awaitToldToTakeOver()
	g.do(http.MethodPost, "/drain?grace=10m", http.StatusAccepted)
	g.awaitLine("upgrade failed, going on as before")
	dialProxy(t, g.listen).greetedBy(one) // it accepts until grace ends
	if s, err := g.statusAt(g.admin); err != nil || s.PID != g.first || s.State != "draining" {
		t.Errorf("got %+v, %v; want the old one draining", s, err)
	}
}

func TestChildOfAWrapperScriptEndsWithTheUpgrade(t *testing.T) {
	one := startWorker(t, "one")
	g := startGenerations(t, "--static-master="+one.l.Addr().String(), "--upgrade-timeout=300ms")
	g.replace("sleep 1000; exit 0")
	g.signal(g.first, syscall.SIGUSR2)
	pid := int(g.awaitLine("upgrade started")["pid"].(float64))
	g.awaitLine("upgrade failed, going on as before")
	g.await("the end of the script's child", func() bool { return !g.hasGroup(pid) })
	g.signal(g.first, syscall.SIGTERM)
	g.awaitGone(g.first)
	g.awaitClosed()
}

func TestWrapperScriptAroundTheSuccessorTakesOver(t *testing.T) {
	one := startWorker(t, "one")
	g := startGenerations(t, "--static-master="+one.l.Addr().String())
	live := dialProxy(t, g.listen)
	live.greetedBy(one)
	g.keepAs(".real")
	g.replace(`sleep 1000 & exec "$0.real" "$@"`)
	next := g.upgrade(g.first)
	dialProxy(t, g.listen).greetedBy(one)
	g.signal(next, syscall.SIGKILL) // the script's child has all the sockets still
	g.wantServing("the old one", g.first)
	dialProxy(t, g.listen).greetedBy(one)
	live.isAlive()
	_ = syscall.Kill(-next, syscall.SIGKILL)
}

func TestHangupReplacesTheProcess(t *testing.T) {
	one := startWorker(t, "one")
	g := startGenerations(t, "--static-master="+one.l.Addr().String())
	live := dialProxy(t, g.listen)
	live.greetedBy(one)
	g.signal(g.first, syscall.SIGHUP)
	next := int(g.awaitLine("handed over to the new process")["pid"].(float64))
	g.wantServing("the new one", next)
	live.isAlive()
	live.Close()
	g.awaitGone(g.first)
}

func TestHangupIsIgnoredWhenItWasAtTheStart(t *testing.T) {
	one := startWorker(t, "one")
	g := prepareGenerations(t)
	c := g.command("--static-master=" + one.l.Addr().String())
	c.Path, c.Args = "/bin/sh", append([]string{"sh", "-c", `trap "" HUP; exec "$@"`, "sh"}, c.Args...)
	g.start(c)
	g.wantServing("the process", g.first)
	g.replace("exit 1")
	g.signal(g.first, syscall.SIGHUP)
	time.Sleep(50 * time.Millisecond)
	if n := len(g.lines("upgrade started")); n > 0 {
		t.Errorf("got %d upgrades; want none by SIGHUP", n)
	}
	g.signal(g.first, syscall.SIGUSR2) // which is obeyed
	g.awaitLine("upgrade failed, going on as before")
	if started, refused := len(g.lines("upgrade started")), len(g.lines("upgrade refused")); started != 1 || refused != 0 {
		t.Errorf("got %d upgrades, %d refused; want that of SIGUSR2 alone", started, refused)
	}
}
