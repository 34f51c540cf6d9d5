package fleet_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rosproxy/rosproxy/cmd/internal/minder"
)

// testTimeout is how long a test waits for what must happen.
const testTimeout = 30 * time.Second

// binary is the rosproxy under test, built once for all tests.
var binary string

func TestMain(m *testing.M) {
	minder.Main()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Geteuid() != 0 {
		fmt.Println("skipped: hosts of their own take root")
		return 0
	}
	dir, err := os.MkdirTemp("", "fleet")
	if err == nil {
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "rosproxy")
		err = errors.Join(installed(), build(binary))
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	runMoreAtATime()
	if signal.Ignored(syscall.SIGHUP) { // by nohup: what is started from here would not hear it
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
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
