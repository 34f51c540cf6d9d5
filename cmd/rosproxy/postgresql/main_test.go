package postgresql_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rosproxy/rosproxy/cmd/internal/minder"
	"github.com/rosproxy/rosproxy/cmd/internal/patroni"
)

// testTimeout is how long a test waits for what must happen: several times TTL.
const testTimeout = 90 * time.Second

// binary is the rosproxy under test.
var binary string

func TestMain(m *testing.M) {
	minder.Main()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "postgresql")
	if err == nil {
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "rosproxy")
		// Patroni runs the binary as well, as the user postgres.
		err = errors.Join(patroni.Installed(), build(binary), os.Chmod(dir, 0o755))
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	return code
}

// build builds rosproxy, with the race detector if the test has it: a race is
// then a line of the log that is not JSON, which no test lets pass.
func build(to string) error {
	args := []string{"build", "-o", to}
	if raceEnabled {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "github.com/rosproxy/rosproxy/cmd/rosproxy")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("build rosproxy: %w\n%s", err, out)
	}
	return nil
}

// eventually waits until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(testTimeout); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for: %s", testTimeout, what)
		}
	}
}
