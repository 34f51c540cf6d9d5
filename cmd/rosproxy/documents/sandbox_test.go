package documents

import (
	"bufio"
	"context"
	_ "embed"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/discovery/consultest/realconsul"
)

// asMaster makes the test binary a master at the address that it is given.
const asMaster = "ROSPROXY_TEST_AS_MASTER"

// built is the rosproxy under test.
var built string

func TestMain(m *testing.M) {
	if os.Getenv(asMaster) != "" {
		if err := serveMaster(os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "documents")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	built = filepath.Join(dir, "rosproxy")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", built, "github.com/rosproxy/rosproxy/cmd/rosproxy")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build rosproxy: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// serveMaster greets each connection with the address it is at, and echoes lines.
func serveMaster(at string) error {
	l, err := net.Listen("tcp", at)
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			fmt.Fprintln(c, "master at", at)
			_, _ = io.Copy(c, bufio.NewReader(c))
		}()
	}
}

// prelude is what commands find in their sandbox, as a script of bash.
//
//go:embed testdata/prelude.sh
var prelude string

// blockTimeout is how long one block may take, on a busy machine.
const blockTimeout = 3 * time.Minute

// runScript runs a script of bash in a sandbox: a network, a /run and a
// /usr/local/bin of its own, and an end that no process outlives. dir is its
// working directory; empty: one of its own.
func runScript(t *testing.T, dir, script string) (output string) {
	t.Helper()
	own := t.TempDir()
	if dir == "" {
		dir = own
	}
	test, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), blockTimeout)
	defer cancel()
	args := []string{"--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"}
	if os.Geteuid() != 0 {
		args = append(args, "--map-root-user")
	}
	cmd := exec.CommandContext(ctx, "unshare", append(args, "bash", "-c", prelude+script)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "OWN="+own, "ROSPROXY="+built, "CONSUL="+realconsul.Binary(t), "TEST="+test, "ROOT="+Root(t))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Errorf("%v\n%s\nsaid\n%s", err, script, out.String())
	}
	return out.String()
}

// needSandbox skips a test where the system lets this user make no sandbox.
func needSandbox(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if out, err := exec.Command("unshare", "--net", "--mount", "--pid", "--fork", "--map-root-user", "true").CombinedOutput(); err != nil {
		t.Skipf("no namespaces for this user: %s", out)
	}
}
