package postgresql_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/cmd/internal/patroni"
	"github.com/rosproxy/rosproxy/cmd/internal/reaper"
	"github.com/rosproxy/rosproxy/cmd/internal/testmain"
)

// testTimeout is how long a test waits for what must happen: several times TTL.
const testTimeout = 90 * time.Second

// binary is the rosproxy under test.
var binary string

func TestMain(m *testing.M) {
	reaper.Main()
	os.Exit(testmain.Run(m, func(built string) error {
		binary = built
		// Patroni runs the binary as well, as the user postgres.
		return errors.Join(patroni.Installed(), os.Chmod(filepath.Dir(binary), 0o755))
	}))
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
