package patroni_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rosproxy/rosproxy/cmd/internal/patroni"
	"github.com/rosproxy/rosproxy/cmd/internal/reaper"
	"github.com/rosproxy/rosproxy/cmd/internal/rows"
	"github.com/rosproxy/rosproxy/discovery/consultest/realconsul"
)

const testTimeout = 2 * time.Minute

func TestMain(m *testing.M) {
	reaper.Main()
	goleak.VerifyTestMain(m)
}

// TestPostgreSQLOutlivesItsPatroniAndNotTheCluster: with a node alone, all that
// the tests of rosproxy rely on.
func TestPostgreSQLOutlivesItsPatroniAndNotTheCluster(t *testing.T) {
	dir := openDir(t)
	consul := realconsul.StartDev(t)
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	c, err := patroni.Start(ctx, dir, consul.Addr, 1)
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	defer func() {
		if !closed {
			c.Close()
		}
	}()
	primary := c.Nodes[0]
	if err := primary.KillPatroni(); err != nil {
		t.Fatal(err)
	}
	if err := rows.Create(ctx, primary.Address, "t"); err != nil {
		t.Fatalf("without its Patroni: %v; want PostgreSQL to answer", err)
	}
	wantLostOnly(ctx, t, primary)

	if len(mentioning(t, dir)) == 0 {
		t.Errorf("processes with a file of %s: got none; want PostgreSQL", dir)
	}
	closed = true
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if left := mentioning(t, dir); len(left) > 0 {
		t.Errorf("left running: %q", left)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("left behind: %v, %v; want nothing", files, err)
	}
}

// wantLostOnly writes rows and looks for them, and for one that was never written.
func wantLostOnly(ctx context.Context, t *testing.T, primary *patroni.Node) {
	t.Helper()
	w := rows.Start(2, "t", rows.Options{Think: time.Millisecond}, func() string { return primary.Address })
	for w.Count().Acked < 20 && ctx.Err() == nil {
		time.Sleep(5 * time.Millisecond)
	}
	w.Stop()
	acked := w.Acked(time.Time{})
	never := rows.Row{Writer: 1, Number: 1 << 20}
	lost, err := rows.Lost(ctx, primary.Address, "t", append(acked, never))
	if err != nil || len(acked) < 20 || len(lost) != 1 || lost[0] != never {
		t.Errorf("of %d rows and one that was never written: lost %v, %v; want that one", len(acked), lost, err)
	}
	for _, f := range w.Failures(time.Time{}) {
		t.Errorf("writer %d: %v", f.Writer, f.Err)
	}
}

// openDir makes a directory that the user postgres can enter.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cluster")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// mentioning lists the processes that work in a directory, or have it in their arguments.
func mentioning(t *testing.T, dir string) []string {
	t.Helper()
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, p := range processes {
		args, _ := os.ReadFile(filepath.Join(p, "cmdline")) // of one that has ended there is none
		cwd, _ := os.Readlink(filepath.Join(p, "cwd"))
		if strings.Contains(string(args)+cwd, dir) {
			found = append(found, fmt.Sprintf("%s %s in %s", p, strings.ReplaceAll(string(args), "\x00", " "), cwd))
		}
	}
	return found
}
