package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rosproxy/rosproxy/discovery/consultest/realconsul"
)

// TestPostgresDemoPasses shows the whole story once: it takes as long as it
// takes Consul to miss two leaders.
func TestPostgresDemoPasses(t *testing.T) {
	t.Parallel()
	binary, err := filepath.Abs(realconsul.Binary(t))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(binary, filepath.Join(dir, "consul")); err != nil {
		t.Fatal(err)
	}
	out, status := showDemo(t, []string{"PATH=" + dir}, "patroni", "--clients=8")
	if status != 0 {
		t.Errorf("exit status got %d; want 0", status)
	}
	for _, name := range []string{"acknowledged rows lost", "read-only errors", "stale connections", "broken by the upgrade"} {
		if got := sum(t, out, name); got != 0 {
			t.Errorf("%s: got %d; want 0", name, got)
		}
	}
	for _, name := range []string{"rows acknowledged", "connections cut", "connections ended"} {
		if got := sum(t, out, name); got <= 0 {
			t.Errorf("%s: got %d; want some", name, got)
		}
	}
	wantInOrder(t, out, "the cluster is up", "SIGKILL", "promoted", "is back and follows as standby",
		"SIGSTOP", "promoted", "SIGCONT", "POST /drain", "exits with status 0", "PASSED")
	if t.Failed() {
		t.Log(out)
	}
}

// wantInOrder wants words to be shown one after the other.
func wantInOrder(t *testing.T, out string, words ...string) {
	t.Helper()
	last := 0
	for _, w := range words {
		i := strings.Index(out[last:], w)
		if i < 0 {
			t.Errorf("%q is not shown in its place", w)
			continue
		}
		last += i
	}
}

func TestPostgresDemoNeedsAConsul(t *testing.T) {
	out, status := showDemo(t, []string{"PATH=/nonexistent"}, "patroni")
	if want := "make consul"; status != 1 || !strings.Contains(out, want) {
		t.Errorf("exit status got %d, output\n%s\nwant 1 and %q", status, out, want)
	}
}

func TestInstancesAreListedByTheirLetters(t *testing.T) {
	var pool []*rosproxy
	for i, want := range []string{"", "A", "A and B", "A, B and C"} {
		if i > 0 {
			pool = append(pool, &rosproxy{name: fmt.Sprintf("rosproxy %c", 'A'+i-1)})
		}
		if got := letters(pool); got != want {
			t.Errorf("%d instances: got %q; want %q", i, got, want)
		}
	}
}
