package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"testing"
)

// The heading of the newest release, which may still be without a date.
func TestReleaseIsTheNewestOfTheChangelog(t *testing.T) {
	text, err := os.ReadFile("../../CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	heading := regexp.MustCompile(`(?m)^## \[?(\d+\.\d+\.\d+)\b`).FindSubmatch(text)
	if heading == nil {
		t.Fatal("CHANGELOG.md has no heading with a version")
	}
	if got := string(heading[1]); got != release {
		t.Errorf("got %s in CHANGELOG.md; want %s, as the source says", got, release)
	}
}

func TestVersionHasTheRevisionUnlessItIsTagged(t *testing.T) {
	for _, c := range []struct {
		settings []debug.BuildSetting
		tagged   bool
		want     string
	}{
		{nil, false, release},
		{[]debug.BuildSetting{{Key: "vcs.revision", Value: "94d38a0d068055ba"}, {Key: "vcs.modified", Value: "false"}}, false, release + "+94d38a0"},
		{[]debug.BuildSetting{{Key: "vcs.modified", Value: "true"}, {Key: "vcs.revision", Value: "94d38a0d068055ba"}}, false, release + "+94d38a0.dirty"},
		{[]debug.BuildSetting{{Key: "vcs.revision", Value: "94d38a0d068055ba"}}, true, release},
	} {
		if got := versionOf(revisionOf(c.settings), c.tagged); got != c.want {
			t.Errorf("%v, tagged %t: got %s; want %s", c.settings, c.tagged, got, c.want)
		}
	}
}

// Somebody who builds from an archive of the source has neither make nor git.
func TestBuildWithoutRepositorySaysTheRelease(t *testing.T) {
	program := filepath.Join(t.TempDir(), "rosproxy")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", program, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	out, err := exec.Command(program, "version").Output()
	if err != nil || !strings.HasPrefix(string(out), "rosproxy "+release+" go") {
		t.Errorf("got %q, %v; want rosproxy %s", out, err, release)
	}
}
