package prometheus

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rosproxy/rosproxy/cmd/internal/minder"
)

// testTimeout is how long a test waits for what must happen.
const testTimeout = 60 * time.Second

// mixin is where the files are that the tests are about.
const mixin = "../../../testdata/prometheus"

// binary is the rosproxy under test, built once for all tests.
var binary string

func TestMain(m *testing.M) {
	minder.Main()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "watched")
	if err == nil {
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "rosproxy")
		err = errors.Join(installed(), build(binary))
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	code := m.Run()
	http.DefaultClient.CloseIdleConnections()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	return code
}

// installed says what of the machine is missing.
func installed() error {
	for _, program := range []string{"prometheus", "promtool"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("find the Prometheus to test with: %w; run make prometheus", err)
		}
	}
	return nil
}

// build builds rosproxy, with the race detector if the test has it.
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
	for deadline := time.Now().Add(testTimeout); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for: %s", testTimeout, what)
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
