package packages_test

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rosproxy/rosproxy/cmd/internal/freeport"
)

// There is nothing in the image but what it takes, and its user may do nothing
// but run it.
func TestContainerRunsAsAUserWithNothingElseInIt(t *testing.T) {
	t.Parallel()
	i := build(t, containerfile)
	if want := []string{"/etc/ssl/certs/ca-certificates.crt", "/rosproxy"}; !slices.Equal(i.files(), want) {
		t.Errorf("files: got %q; want %q", i.files(), want)
	}
	expectStatic(t, i.last.dir+"/rosproxy", runtime.GOARCH)
	uid, gid := i.ids()
	if reason := withoutRoot(); reason != "" {
		t.Skip(reason)
	}
	master, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	go echo(master)
	address := loopback(t)
	cmd := exec.Command(i.entrypoint[0], append(i.entrypoint[1:], "--listen", address, "--admin-listen", loopback(t),
		"--static-master", master.Addr().String(), "--drain-grace", "0s")...)
	cmd.Env, cmd.Dir = []string{}, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: i.last.dir, Credential: &syscall.Credential{Uid: uid, Gid: gid}}
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	eventually(t, "a client reaches the master through the container", func() bool { return isGreeted(address) })
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("got %v after SIGTERM; want exit status 0\n%s", err, &log)
	}
}

// The toolchain of the base must know the language of go.mod.
func TestContainerIsBuiltWithTheGoOfTheModule(t *testing.T) {
	module, err := os.ReadFile(repository + "/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(containerfile)
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(module)[1]
	if want := "FROM golang:" + string(version) + " "; !strings.Contains(string(text), want) {
		t.Errorf("got no %q in the Containerfile; want the version of go.mod", want)
	}
}

func loopback(t *testing.T) string {
	t.Helper()
	port, err := freeport.Find()
	if err != nil {
		t.Fatal(err)
	}
	return freeport.Loopback(port)
}

func isGreeted(address string) bool {
	c, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	line, err := bufio.NewReader(c).ReadString('\n')
	return err == nil && line == "hello\n"
}
