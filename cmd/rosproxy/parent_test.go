package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// startBelow starts the program as a child of a process called name, which runs
// script. It gives the program's pid.
func (g *generations) startBelow(name, script string, stdin io.Reader, args ...string) int {
	g.t.Helper()
	shell := filepath.Join(g.dir, name)
	if err := os.Symlink("/bin/sh", shell); err != nil {
		g.t.Fatal(err)
	}
	c := g.command(args...)
	c.Path, c.Args = shell, append([]string{name, "-c", script, "sh"}, c.Args...)
	c.Stdin = stdin
	g.start(c)
	pid := int(g.awaitLine("starting")["pid"].(float64))
	g.wantServing("the program", pid)
	return pid
}

func TestUpgradeBelowASupervisorIsRefused(t *testing.T) {
	for _, name := range []string{"tini", "supervisord"} {
		t.Run(name, func(t *testing.T) {
			one := startWorker(t, "one")
			g := prepareGenerations(t)
			pid := g.startBelow(name, `"$@" & wait`, nil, "--static-master="+one.l.Addr().String())
			for n, s := range []syscall.Signal{syscall.SIGUSR2, syscall.SIGHUP} {
				g.signal(pid, s)
				line := g.awaitLines("upgrade refused", n+1)[n]
				if want := "its parent, " + name + " (process "; !strings.HasPrefix(fmt.Sprint(line["error"]), want) {
					t.Errorf("got %q; want it to begin with %q", line["error"], want)
				}
			}
			g.wantServing("the program", pid)
			if n := len(g.lines("upgrade started")); n > 0 {
				t.Errorf("got %d upgrades; want none", n)
			}
		})
	}
}

func TestUpgradeIsAllowedWhenTheSupervisorIsGone(t *testing.T) {
	one := startWorker(t, "one")
	g := prepareGenerations(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	pid := g.startBelow("tini", `"$@" & read x`, r, "--static-master="+one.l.Addr().String())
	w.Close()
	_ = g.cmd.Wait()
	g.signal(pid, syscall.SIGUSR2)
	next := int(g.awaitLine("handed over to the new process")["pid"].(float64))
	g.wantServing("the new one", next)
}

// A container whose entrypoint is a script has a shell for PID 1; without one,
// the program is that itself.
func TestUpgradeInAContainerIsRefused(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, for a PID namespace")
	}
	for name, c := range map[string]struct{ script, says string }{
		"the program is PID 1":         {`exec "$@"`, "this process is PID 1"},
		"a script is PID 1":            {`"$@"; exit`, "its parent, sh, is PID 1"},
		"it came in from outside":      {"", "outside of its PID namespace"},
		"a shell that has job control": {`set -m; "$@" & wait`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			one := startWorker(t, "one")
			g := prepareGenerations(t)
			program := g.command("--static-master=" + one.l.Addr().String())
			shell := "sh"
			if c.says == "" {
				shell = "bash" // others have job control on a terminal alone
			}
			first := append([]string{shell, "-c", c.script, "sh"}, program.Args...)
			if c.script == "" {
				first = []string{"sleep", "1000"}
			}
			unshare := func(args []string) *exec.Cmd {
				in := exec.Command("unshare", append([]string{"--pid", "--fork", "--kill-child", "--mount-proc"}, args...)...)
				in.Env = program.Env
				return in
			}
			g.start(unshare(first))
			t.Cleanup(func() { _ = g.cmd.Process.Kill() })
			pid := g.childOf(g.first)
			if c.script == "" {
				enter := exec.Command("nsenter", append([]string{"--pid", "--mount", "--target", strconv.Itoa(pid)}, program.Args...)...)
				log, err := os.OpenFile(g.log, os.O_APPEND|os.O_WRONLY, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer log.Close()
				enter.Env, enter.Stdout, enter.Stderr = program.Env, log, log
				if err := enter.Start(); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = enter.Process.Kill(); _ = enter.Wait() })
				pid = g.childOf(enter.Process.Pid)
			} else if !strings.HasPrefix(c.script, "exec") {
				pid = g.childOf(pid)
			}
			g.awaitLine("starting")
			g.await("the program", func() bool { _, err := g.statusAt(g.admin); return err == nil })
			g.signal(pid, syscall.SIGHUP)
			if c.says == "" {
				g.awaitLine("handed over to the new process")
				return
			}
			if line := g.awaitLine("upgrade refused"); !strings.Contains(fmt.Sprint(line["error"]), c.says) {
				t.Errorf("got %q; want %q", line["error"], c.says)
			}
		})
	}
}

// childOf waits until pid has a child, and gives it.
func (g *generations) childOf(pid int) (child int) {
	g.t.Helper()
	g.await(fmt.Sprintf("a child of %d", pid), func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		if err != nil {
			return false
		}
		_, err = fmt.Sscan(string(b), &child)
		return err == nil
	})
	return child
}
