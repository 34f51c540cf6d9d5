package packages_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// withoutBoot says why no systemd can be booted here; empty: nothing is known
// against it. What a container of systemd takes is tried, one by one.
func withoutBoot() string {
	if reason := withoutRoot(); reason != "" {
		return reason
	}
	if _, err := exec.LookPath("systemd-nspawn"); err != nil {
		return fmt.Sprintf("make test installs what boots a container (package systemd-container): %v", err)
	}
	namespaces := exec.Command("unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "mount", "-t", "tmpfs", "none", "/mnt")
	if out, err := namespaces.CombinedOutput(); err != nil {
		return fmt.Sprintf("a container takes namespaces of its own, and to mount in them: %v: %s", err, out)
	}
	cgroups, err := makeCgroups()
	removeCgroups(cgroups)
	if err != nil {
		return fmt.Sprintf("systemd takes a cgroup that it may write: %v", err)
	}
	return ""
}

// makeCgroups makes a cgroup for the machine in each hierarchy that systemd works
// with, below that of this process: two machines in one would kill each other's
// services. What it has made it gives with an error as well.
func makeCgroups() (dirs []string, err error) {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(b)) { // 9:name=systemd:/path, or 0::/path
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 || parts[1] != "" && parts[1] != "name=systemd" {
			continue
		}
		hierarchy := "/sys/fs/cgroup"
		switch {
		case parts[1] != "":
			hierarchy += "/systemd"
		case !exists(hierarchy + "/cgroup.procs"): // beside those of version 1
			hierarchy += "/unified"
		}
		dir := filepath.Join(hierarchy, parts[2], fmt.Sprintf("rosproxy-test-%d", os.Getpid()))
		if err := os.Mkdir(dir, 0o755); err != nil {
			return dirs, err
		}
		dirs = append(dirs, dir)
		if f, err := os.OpenFile(filepath.Join(dir, "cgroup.procs"), os.O_WRONLY, 0); err != nil {
			return dirs, err
		} else {
			f.Close()
		}
	}
	if dirs == nil {
		return nil, fmt.Errorf("no hierarchy of systemd's in %s", b)
	}
	return dirs, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// removeCgroups takes them away again, with those below them, the deepest first.
func removeCgroups(dirs []string) {
	for _, dir := range dirs {
		var below []string
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				below = append(below, path)
			}
			return nil
		})
		for _, path := range slices.Backward(below) {
			_ = os.Remove(path)
		}
	}
}
