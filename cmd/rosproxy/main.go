// Command rosproxy keeps clients connected to the one current master of a
// cluster, as Consul names it, and cuts them off from the old one the moment
// a new one is elected.
//
// It exits 0 after a drain, 1 when it failed at run time, and 2 when the
// command line or the environment is wrong. Its other commands exit 0 when they
// have done what they were asked.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/upgrade"
	"github.com/rosproxy/rosproxy/drain/handover"
)

func main() {
	signals := make(chan os.Signal, 8) // room for the second one, which ends at once, beside upgrades
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR2)
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		signal.Notify(signals, syscall.SIGHUP)
	}
	// Without this a reader of stderr that went away would end the proxy with it. To
	// ignore the signal would have every process ignore it that is started from here.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	p := Program{
		Args:       os.Args[1:],
		Stdout:     os.Stdout,
		Stderr:     os.Stderr,
		Signals:    signals,
		Executable: executable(),
		Name:       os.Args[0],
	}
	if err := p.inherit(); err != nil {
		fmt.Fprintln(os.Stderr, "rosproxy:", config.OneLine(err.Error()))
		os.Exit(exitUsage)
	}
	os.Exit(p.Run(context.Background()))
}

// inherit takes what the process was started with beside its arguments.
func (p *Program) inherit() (err error) {
	p.Activated = activation.Files(true) // before the environment is read: it takes its variables out
	p.Predecessor, p.Env, err = handover.Inherit(os.Environ())
	if err != nil {
		return err
	}
	p.Parent = upgrade.FindParent(p.Env)
	if os.Getenv("NOTIFY_SOCKET") != "" {
		p.Notify = notify
	}
	p.Watchdog, err = daemon.SdWatchdogEnabled(false)
	return err
}

func notify(state string) error {
	_, err := daemon.SdNotify(false, state)
	return err
}

// executable is the path by which the process was started; empty when it
// cannot be told. Not that of the file that runs, which an upgrade replaces.
func executable() string {
	path, err := exec.LookPath(os.Args[0])
	if err != nil {
		return ""
	}
	if path, err = filepath.Abs(path); err != nil {
		return ""
	}
	return path
}
