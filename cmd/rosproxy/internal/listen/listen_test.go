package listen

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// socketPath is short enough for a socket, wherever the tests run.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "admin.sock")
}

func openAdmin(t *testing.T, path string) (*Endpoint, error) {
	opened, err := (&Inherited{}).Open(t.Context(), Admin, "unix", path, 8)
	if err != nil {
		return nil, err
	}
	return opened[0], nil
}

func TestAdminSocketHasItsModeAndIsRemoved(t *testing.T) {
	path := socketPath(t)
	l, err := openAdmin(t, path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o660 {
		t.Errorf("got mode %#o; want 0660", got)
	}
	if err := l.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("got %v; want the socket removed", err)
	}
}

func TestStaleAdminSocketIsReplaced(t *testing.T) {
	path := socketPath(t)
	stale, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	stale.(*net.UnixListener).SetUnlinkOnClose(false) // as after a kill
	stale.Close()
	l, err := openAdmin(t, path)
	if err != nil {
		t.Fatalf("got %v; want the stale socket replaced", err)
	}
	l.Close()
}

func TestAdminSocketInUseAndOtherFilesAreLeftAlone(t *testing.T) {
	used := socketPath(t)
	other, err := net.Listen("unix", used)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	file := socketPath(t)
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, says := range map[string]string{
		used:                     "in use by another process",
		file:                     "is no socket",
		"/does/not/exist/a.sock": "no such file",
	} {
		_, err := openAdmin(t, path)
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v; want the path and %q", path, err, says)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("got %q, %v; want the file untouched", b, err)
	}
	if info, err := os.Stat(used); err != nil || info.Mode().Type() != fs.ModeSocket {
		t.Errorf("got %v, %v; want the socket there", info, err)
	}
}

func TestNarrowModeActsBeforeBind(t *testing.T) {
	path := socketPath(t)
	lc := net.ListenConfig{Control: narrowMode(socketMode)}
	old := syscall.Umask(0) // of the process: this test must not run beside others
	l, err := lc.Listen(t.Context(), "unix", path)
	syscall.Umask(old)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != socketMode {
		t.Errorf("got mode %#o without chmod; want %#o", got, socketMode)
	}
}
