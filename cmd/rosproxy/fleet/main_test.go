package fleet_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/cmd/internal/reaper"
	"github.com/rosproxy/rosproxy/cmd/internal/testmain"
)

// testTimeout is how long a test waits for what must happen.
const testTimeout = 30 * time.Second

// binary is the rosproxy under test, built once for all tests.
var binary string

func TestMain(m *testing.M) {
	reaper.Main()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Geteuid() != 0 {
		fmt.Println("skipped: hosts of their own take root")
		return 0
	}
	return testmain.Run(m, func(built string) error {
		binary = built
		runMoreAtATime()
		if signal.Ignored(syscall.SIGHUP) { // by nohup: what is started from here would not hear it
			signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
		}
		return installed()
	})
}

// runMoreAtATime has more tests run in parallel than there are processors,
// unless the command line says otherwise: most of their time they wait.
func runMoreAtATime() {
	flag.Parse()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "test.parallel" })
	if !asked {
		_ = flag.Set("test.parallel", "4")
	}
}

// installed says what of the machine is missing.
func installed() error {
	var missing []error
	for _, file := range []string{haproxyProgram, nginxProgram, nginxStream} {
		if _, err := os.Stat(file); err != nil {
			missing = append(missing, fmt.Errorf("find the balancers to test with: %w; run make balancers", err))
		}
	}
	if _, err := exec.LookPath("ip"); err != nil {
		missing = append(missing, fmt.Errorf("find iproute2: %w; run make balancers", err))
	}
	return errors.Join(missing...)
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
