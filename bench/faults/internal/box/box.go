// Package box runs this program once more in namespaces of its own: for
// processes, the network and mounts. Whatever happens inside ends with it, and
// no address, process or file system of the machine is touched.
package box

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// folder is the variable that tells the program that it is inside, and where its files go.
const folder = "ROSPROXY_FAULTS_FOLDER"

// Inside reports whether this process is inside.
func Inside() bool { return os.Getenv(folder) != "" }

// Folder is where what runs inside keeps its files. It is removed at the end.
func Folder() string { return os.Getenv(folder) }

// Enter runs the program anew, with the same arguments, inside, and returns its exit
// status. Who is not root is root there, where the machine allows that.
func Enter() (int, error) {
	dir, err := os.MkdirTemp("", "faults") // short: the path of a socket has a limit
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	runtime.LockOSThread() // the kernel takes the end of the thread that started a process for our death
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), folder+"="+dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("make the namespaces that faults need, which takes root or user namespaces: %w", err)
	}
	go forward(signals, cmd.Process)
	_ = cmd.Wait() // its status is ours
	return cmd.ProcessState.ExitCode(), nil
}

// forward passes signals on: PID 1 of a namespace gets none that it does not ask for.
func forward(signals <-chan os.Signal, to *os.Process) {
	for s := range signals {
		_ = to.Signal(s)
	}
}

// Settle makes the inside ready: /proc shows its own processes.
func Settle() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to the namespace: %w", os.NewSyscallError("mount", err))
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount a /proc of the namespace: %w", os.NewSyscallError("mount", err))
	}
	return nil
}
