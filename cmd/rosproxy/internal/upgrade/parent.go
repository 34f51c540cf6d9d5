package upgrade

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Parent is the process that started this one. An upgrade ends this process: a
// parent that waits for it, as supervisors do, would take that for the end of
// the service, and end what is left of it, or start it once more. The zero Parent
// forbids nothing.
type Parent struct {
	pid int
	err error // what speaks against an upgrade while pid is the parent
}

// FindParent looks who the parent is. It is to be called when the process
// starts: whom it gets later, when that one has ended, has not waited for it.
func FindParent(env []string) Parent {
	p := process{
		pid: os.Getpid(), parent: os.Getppid(), group: unix.Getpgrp(),
		notified: lookup(env, "NOTIFY_SOCKET") != "",
		byUnit:   lookup(env, "SYSTEMD_EXEC_PID") == strconv.Itoa(os.Getpid()),
	}
	if p.parent > 0 {
		p.name = nameOf(fmt.Sprintf("/proc/%d", p.parent))
		p.parentGroup, _ = unix.Getpgid(p.parent)
		p.session, _ = unix.Getsid(0)
		p.parentSession, _ = unix.Getsid(p.parent)
	}
	return Parent{pid: p.parent, err: p.forbids()}
}

// forbids tells why there can be no upgrade; nil when there can.
func (p Parent) forbids() error {
	if p.pid != os.Getppid() {
		return nil
	}
	return p.err
}

func lookup(env []string, name string) string {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}

// process is what is known of this process and its parent.
type process struct {
	pid, group, session                int
	parent, parentGroup, parentSession int
	name                               string // of the parent; empty: not known
	notified                           bool   // there is a service manager that listens
	byUnit                             bool   // systemd has started this process, not one that it descends from
}

// Names of processes, of which the kernel keeps 15 bytes.
var (
	supervisors = []string{
		"tini", "tini-static", "docker-init", "dumb-init", "catatonit", "podman-init", "conmon", // of containers
		"supervisord", "s6-supervise", "runsv", "supervise", "supervise-daemo", "perpd", "immortal", "horust",
		"circusd", "god", "foreman", "honcho", "hivemind", "overmind", "forego", "goreman", "process-compos", "nomad",
	}
	supervisorPrefixes = []string{"containerd-shim", "PM2 "}
	inits              = []string{"init", "openrc-init", "finit", "launchd"}
	shells             = []string{"sh", "ash", "bash", "dash", "fish", "ksh", "mksh", "zsh", "busybox"}
)

func (p process) forbids() error {
	hasPrefix := func(prefix string) bool { return strings.HasPrefix(p.name, prefix) }
	switch {
	case p.pid == 1:
		return errors.New("this process is PID 1, the first of its container, which would end with it")
	case p.parent == 0:
		return errors.New("its parent is outside of its PID namespace, as that of a container's main process is, and waits for it")
	case p.name == "systemd":
		if p.byUnit && !p.notified {
			return errors.New("its systemd unit is not Type=notify: the service would end with this process")
		}
		return nil
	case slices.Contains(supervisors, p.name), slices.ContainsFunc(supervisorPrefixes, hasPrefix):
		return fmt.Errorf("its parent, %s (process %d), waits for it", p.name, p.parent)
	case p.parent != 1, p.name == "", slices.Contains(inits, p.name):
		return nil
	case p.session != p.parentSession: // its parent had ended before it looked, and PID 1 has not started it
		return nil
	case slices.Contains(shells, p.name) && p.group != p.parentGroup: // a job of an interactive one
		return nil
	default:
		return fmt.Errorf("its parent, %s, is PID 1, and waits for it", p.name)
	}
}

// nameOf is the name of the process at a folder of /proc: that of the script
// where an interpreter runs one; empty when it cannot be told.
func nameOf(folder string) string {
	comm, err := os.ReadFile(filepath.Join(folder, "comm"))
	if err != nil {
		return ""
	}
	name := strings.TrimSuffix(string(comm), "\n")
	if !slices.ContainsFunc([]string{"python", "ruby", "node"}, func(i string) bool { return strings.HasPrefix(name, i) }) {
		return name
	}
	line, _ := os.ReadFile(filepath.Join(folder, "cmdline"))
	if script := scriptOf(strings.Split(string(line), "\x00")); slices.Contains(supervisors, script) {
		return script
	}
	return name
}

// scriptOf is what an interpreter runs, or the last part of a module's name
// after Python's -m; empty for none.
func scriptOf(args []string) string {
	for i, arg := range args[1:] {
		switch {
		case arg == "-m" && i+2 < len(args):
			return args[i+2][strings.LastIndexByte(args[i+2], '.')+1:]
		case arg == "-c":
			return ""
		case !strings.HasPrefix(arg, "-"):
			return filepath.Base(arg)
		}
	}
	return ""
}
