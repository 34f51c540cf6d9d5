package packages_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// root is a clean Debian, not booted.
type root struct {
	t   *testing.T
	dir string
}

// unpacked makes one. It takes root: the files belong to several users.
func unpacked(t *testing.T) root {
	t.Helper()
	if reason := withoutRoot(); reason != "" {
		t.Skip(reason)
	}
	r := root{t, t.TempDir()}
	if err := r.unpack(); err != nil {
		t.Fatal(err)
	}
	return r
}

// withoutRoot says why there can be no clean Debian; empty: there can.
func withoutRoot() string {
	if os.Geteuid() != 0 {
		return "a clean Debian takes root"
	}
	if _, err := os.Stat(debian); err != nil {
		return fmt.Sprintf("the clean Debian is not there, make test-systemd makes it: %v", err)
	}
	return ""
}

func (r root) unpack() error {
	if out, err := exec.Command("tar", "-C", r.dir, "-xpf", debian).CombinedOutput(); err != nil {
		return fmt.Errorf("unpack %s: %w\n%s", debian, err, out)
	}
	return nil
}

// run runs a program there that must succeed.
func (r root) run(args ...string) string {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), "chroot", append([]string{r.dir}, args...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("%q: %v\n%s", args, err, out)
	}
	return string(out)
}

// bring copies a file into the directory /root there, and gives its path.
func (r root) bring(file string) string {
	r.t.Helper()
	if err := copyInto(filepath.Join(r.dir, "root"), file); err != nil {
		r.t.Fatal(err)
	}
	return "/root/" + filepath.Base(file)
}

func copyInto(dir, file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, filepath.Base(file)), b, 0o644)
}

func (r root) has(path string) bool {
	_, err := os.Lstat(filepath.Join(r.dir, path))
	return err == nil
}

func (r root) write(path, text string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, path), []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func (r root) read(path string) string {
	r.t.Helper()
	b, err := os.ReadFile(filepath.Join(r.dir, path))
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}

// files are the paths of all that is there, but for what the package managers
// keep for themselves.
func (r root) files() (paths []string) {
	r.t.Helper()
	err := filepath.WalkDir(r.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path = strings.TrimPrefix(path, r.dir)
		if slices.Contains([]string{"/root", "/var/lib/dpkg", "/var/lib/rpm", "/var/log", "/var/cache", "/dev"}, path) {
			return fs.SkipDir
		}
		paths = append(paths, path)
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return paths
}

// program is the rosproxy below dir.
func program(t *testing.T, dir string, args ...string) *exec.Cmd {
	return exec.CommandContext(t.Context(), filepath.Join(dir, "usr/bin/rosproxy"), args...)
}
