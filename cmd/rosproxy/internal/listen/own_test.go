package listen

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// shortDir is a directory whose paths are short enough for a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func own() string { return fmt.Sprintf("rosproxy-%d.sock", os.Getpid()) }

func TestOwnSocketIsInTheRuntimeDirectory(t *testing.T) {
	dir := shortDir(t)
	l, err := OpenOwn(t.Context(), []string{"RUNTIME_DIRECTORY=" + dir + ":/other"}, 8)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, own())
	if got := l.Addr().String(); got != path {
		t.Errorf("got %s; want %s", got, path)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v; want mode 0600", info, err)
	}
	l.Close()
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("after the close: got %v; want it removed", err)
	}
}

// TestOwnSocketIsNeverWhereAnotherUserCanMakeOne: a directory that others
// write to, or a link, is passed over.
func TestOwnSocketIsNeverWhereAnotherUserCanMakeOne(t *testing.T) {
	shared := shortDir(t)
	if err := os.Chmod(shared, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(shortDir(t), "link")
	if err := os.Symlink(shortDir(t), link); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{shared, link, "/does/not/exist"} {
		if got := safeDirs([]string{"RUNTIME_DIRECTORY=" + dir}); slices.Contains(got, dir) {
			t.Errorf("%s: got %v; want it passed over", dir, got)
		}
	}
}

// TestOwnSocketHasADirectoryOfItsOwnWhereNoneIsSafe looks at what a user
// without /run gets.
func TestOwnSocketHasADirectoryOfItsOwnWhereNoneIsSafe(t *testing.T) {
	temp := shortDir(t)
	t.Setenv("TMPDIR", temp)
	l, err := openOwnIn(t.Context(), nil, 8)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(l.Addr().String())
	if filepath.Dir(dir) != temp {
		t.Errorf("got %s; want it below %s", l.Addr(), temp)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("got %v, %v; want mode 0700", info, err)
	}
	if got := RemoveStale(nil); slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, temp) }) {
		t.Errorf("removed %v; want the socket left alone: it is listened on", got)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("after the close: got %v; want the directory removed", err)
	}
}

// leave makes a socket as a process that was killed leaves it.
func leave(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
}

func TestSocketsOfKilledProcessesAreRemoved(t *testing.T) {
	temp := shortDir(t)
	t.Setenv("TMPDIR", temp)
	dir := shortDir(t)
	const gone = 1 << 30 // no pid is that high
	stale := filepath.Join(dir, fmt.Sprintf("rosproxy-%d.sock", gone))
	leave(t, stale)
	old := filepath.Join(dir, "rosproxy-1.sock") // the pid belongs to another process by now
	leave(t, old)
	hourAgo := time.Now().Add(-time.Hour)
	if err := os.Chtimes(old, hourAgo, hourAgo); err != nil {
		t.Fatal(err)
	}
	private := filepath.Join(temp, "rosproxy-123")
	if err := os.Mkdir(private, 0o700); err != nil {
		t.Fatal(err)
	}
	inPrivate := filepath.Join(private, fmt.Sprintf("rosproxy-%d.sock", gone+1))
	leave(t, inPrivate)

	kept := map[string]string{}
	keep := func(name, why string) string {
		path := filepath.Join(dir, name)
		kept[path] = why
		return path
	}
	listening, err := net.Listen("unix", keep(fmt.Sprintf("rosproxy-%d.sock", gone+2), "is listened on"))
	if err != nil {
		t.Fatal(err)
	}
	defer listening.Close()
	leave(t, keep(fmt.Sprintf("rosproxy-%d.sock", os.Getppid()), "may be about to be listened on"))
	leave(t, keep("rosproxy-x.sock", "has no pid in its name"))
	leave(t, keep("other.sock", "is somebody else's"))
	if err := os.WriteFile(keep(fmt.Sprintf("rosproxy-%d.sock", gone+3), "is no socket"), nil, 0o600); err != nil {
		t.Fatal(err)
	}

	removed := RemoveStale([]string{"RUNTIME_DIRECTORY=" + dir})
	for _, path := range []string{stale, old, inPrivate} {
		if _, err := os.Lstat(path); !os.IsNotExist(err) || !slices.Contains(removed, path) {
			t.Errorf("%s: got %v, told of %v; want it removed, and told of", path, err, removed)
		}
	}
	if _, err := os.Lstat(private); !os.IsNotExist(err) {
		t.Errorf("got %v; want the directory of the removed socket gone", err)
	}
	for path, why := range kept {
		if _, err := os.Lstat(path); err != nil || slices.Contains(removed, path) {
			t.Errorf("%s: got %v; want it kept, since it %s", path, err, why)
		}
	}
}
