// Package testmain runs the tests of a package with a rosproxy that it builds, in
// an environment of its own.
package testmain

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// Run builds rosproxy, runs the tests of m, and returns the status to exit with:
// that of the tests, or 1 when there is something missing or a goroutine left
// behind. prepare gets the path of the binary, in a directory of its own that is
// removed in the end, and says what of the machine is missing.
func Run(m *testing.M, prepare func(binary string) error) int {
	dir, err := os.MkdirTemp("", "rosproxy")
	if err == nil {
		defer os.RemoveAll(dir)
		binary := filepath.Join(dir, "rosproxy")
		err = errors.Join(prepare(binary), build(binary))
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

// Environment is that of the tests without what would configure rosproxy or
// Consul, or have it talk to the service manager of the tests.
func Environment() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "CONSUL_") && !strings.HasPrefix(e, "ROSPROXY_") && !strings.HasPrefix(e, "NOTIFY_") && !strings.HasPrefix(e, "LISTEN_") {
			env = append(env, e)
		}
	}
	return env
}
