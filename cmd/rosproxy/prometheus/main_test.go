package prometheus

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/cmd/internal/reaper"
	"github.com/rosproxy/rosproxy/cmd/internal/testmain"
)

// testTimeout is how long a test waits for what must happen.
const testTimeout = 60 * time.Second

// mixin is where the files are that the tests are about.
const mixin = "../../../testdata/prometheus"

// binary is the rosproxy under test, built once for all tests.
var binary string

func TestMain(m *testing.M) {
	reaper.Main()
	os.Exit(testmain.Run(m, func(built string) error {
		binary = built
		return installed()
	}))
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
