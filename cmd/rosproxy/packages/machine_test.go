package packages_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rosproxy/rosproxy/cmd/internal/reaper"
)

// machine is a Debian under its own systemd, with a network that is its own.
type machine struct {
	root
	init    int // its process 1, as seen from here
	network *os.File
	process *reaper.Process
	cgroups []string
	begun   time.Time // of the test
}

// What all tests have in common, or why there is none.
var (
	boot     sync.Once
	common   *machine
	bootless string
	bootErr  error
)

// booted gives the machine.
func booted(t *testing.T) *machine {
	t.Helper()
	boot.Do(func() {
		if bootless = withoutBoot(); bootless == "" {
			bootErr = start()
		}
	})
	if bootless != "" {
		t.Skip(bootless)
	}
	if bootErr != nil {
		t.Fatal(bootErr)
	}
	m := *common
	m.t = t
	return &m
}

// shutDown ends the machine when all tests are done.
func shutDown() {
	if common == nil {
		return
	}
	if common.process != nil {
		common.process.Close()
	}
	if common.network != nil {
		common.network.Close()
	}
	removeCgroups(common.cgroups)
	_ = os.RemoveAll(common.dir)
}

// start boots the machine. Where a container cannot even run true, bootless says so.
func start() (err error) {
	dir, err := os.MkdirTemp("", "machine")
	if err != nil {
		return err
	}
	common = &machine{root: root{dir: dir}}
	if err := common.unpack(); err != nil {
		return err
	}
	if common.cgroups, err = makeCgroups(); err != nil {
		return err
	}
	args := common.container("true")
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		bootless = fmt.Sprintf("systemd-nspawn cannot run a container here: %v: %s", err, out)
		return nil
	}
	console, err := os.Create(filepath.Join(dir, "console"))
	if err != nil {
		return err
	}
	defer console.Close()
	if common.process, err = reaper.Start(reaper.Command{Args: common.container("--boot"), Log: console}); err != nil {
		return err
	}
	if err := common.awaitBoot(); err != nil {
		said, _ := os.ReadFile(console.Name())
		return fmt.Errorf("boot: %w\n%s", err, said)
	}
	common.network, err = os.Open(fmt.Sprintf("/proc/%d/ns/net", common.init))
	return err
}

// container is the command that runs something in the machine's own cgroups.
func (m *machine) container(what string) []string {
	script := ""
	for _, dir := range m.cgroups {
		script += fmt.Sprintf("echo $$ >'%s/cgroup.procs' && ", dir)
	}
	script += `exec systemd-nspawn --quiet --directory="$0" --register=no --keep-unit --private-network "$@"`
	return []string{"/bin/sh", "-c", script, m.dir, what}
}

// awaitBoot waits until every unit that starts with the machine has started, or
// has failed: what a container lacks is not our affair.
func (m *machine) awaitBoot() error {
	for end := time.Now().Add(4 * patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if m.init = m.findInit(); m.init == 0 {
			continue
		}
		out, _ := m.command(context.Background(), "systemctl", "is-system-running").Output()
		if state := strings.TrimSpace(string(out)); state == "running" || state == "degraded" {
			return nil
		}
	}
	return fmt.Errorf("not done after %v", 4*patience)
}

// findInit finds the machine's systemd among the children of systemd-nspawn; 0:
// not there yet.
func (m *machine) findInit() int {
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", m.process.PID, m.process.PID))
	for _, child := range strings.Fields(string(children)) {
		if name, _ := os.ReadFile("/proc/" + child + "/comm"); string(name) == "systemd\n" {
			pid, _ := strconv.Atoi(child)
			return pid
		}
	}
	return 0
}

func (m *machine) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--target", strconv.Itoa(m.init), "--all", "--"}, args...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive"}
	return cmd
}

// try runs a program on the machine.
func (m *machine) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience) // the test's own is over when it cleans up
	defer cancel()
	out, err := m.command(ctx, args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// run runs a program on the machine that must succeed.
func (m *machine) run(args ...string) string {
	m.t.Helper()
	out, err := m.try(args...)
	if err != nil {
		m.t.Fatalf("%q: %v\n%s\n%s", args, err, out, m.journal())
	}
	return out
}

// journal is what there is in the log about rosproxy since the test began.
func (m *machine) journal() string {
	out, _ := m.try("journalctl", "--unit", "rosproxy.service", "--output", "cat", "--no-pager", "--since", fmt.Sprintf("@%d", m.begun.Unix()))
	return out
}

// inNetwork calls f where a socket that it makes is one of the machine's.
func (m *machine) inNetwork(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends, since it has left its network
		if err := unix.Setns(int(m.network.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- os.NewSyscallError("setns", err)
			return
		}
		done <- f()
	}()
	return <-done
}

func (m *machine) dial(address string) (c net.Conn, err error) {
	err = m.inNetwork(func() (err error) {
		c, err = net.DialTimeout("tcp4", address, patience)
		return err
	})
	return c, err
}

func (m *machine) listen(address string) (l net.Listener, err error) {
	err = m.inNetwork(func() (err error) {
		l, err = net.Listen("tcp4", address)
		return err
	})
	return l, err
}
