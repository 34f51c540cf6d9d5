package packages_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/cmd/internal/reaper"
)

const (
	repository = "../../.."
	debian     = repository + "/bin/debian.tar"
	patience   = 30 * time.Second // for what must happen
	newer      = "99.0.0"         // the version of the packages to upgrade to
)

// built are the directories of the packages that the tests install.
var built struct{ current, newer string }

func TestMain(m *testing.M) {
	reaper.Main()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "packages")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer os.RemoveAll(dir)
	built.current, built.newer = filepath.Join(dir, "current"), filepath.Join(dir, "newer")
	if err := makePackages(built.current); err != nil {
		fmt.Println(err)
		return 1
	}
	if err := makePackages(built.newer, "RELEASE="+newer, "REVISION=", "ARCHITECTURES="+runtime.GOARCH); err != nil {
		fmt.Println(err)
		return 1
	}
	defer shutDown()
	return m.Run()
}

// makePackages runs make packages as a user does, but for where they go.
func makePackages(dir string, variables ...string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	cmd := exec.Command("make", append([]string{"--no-print-directory", "-C", repository, "packages", "PACKAGES=" + dir}, variables...)...)
	// What a make that runs the tests has in its environment is not for this one.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MAKE") || strings.HasPrefix(v, "MFLAGS") })
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make packages: %w\n%s", err, out)
	}
	return nil
}

// packageIn gives the one package whose name ends so.
func packageIn(t *testing.T, dir, ending string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*"+ending))
	if err != nil || len(found) != 1 {
		t.Fatalf("packages *%s: got %q, %v; want one", ending, found, err)
	}
	return found[0]
}

// debEnding and rpmEnding are those of the packages for this machine.
func debEnding() string { return "_" + runtime.GOARCH + ".deb" }

func rpmEnding() string {
	if runtime.GOARCH == "arm64" {
		return ".aarch64.rpm"
	}
	return ".x86_64.rpm"
}

// output runs a program that must succeed.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed; make test does it where it is root", name)
	}
	out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}
