package packages_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const containerfile = repository + "/testdata/container/Containerfile"

// image is what the steps of a Containerfile make, followed by hand. The base of
// a stage that is not scratch is this machine, with the stage's own files over it.
type image struct {
	t          *testing.T
	stages     map[string]*stage
	last       *stage
	user       string
	entrypoint []string
}

type stage struct {
	dir     string // the files that the steps have made
	scratch bool
	workdir string
}

// build follows the steps. One that is not understood fails the test.
func build(t *testing.T, file string) *image {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	i := &image{t: t, stages: map[string]*stage{}}
	for line := range strings.Lines(string(text)) {
		step, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if step != "" && step[0] != '#' {
			i.follow(step, strings.TrimSpace(rest))
		}
	}
	return i
}

func (i *image) follow(step, rest string) {
	i.t.Helper()
	switch step {
	case "FROM":
		i.from(strings.Fields(rest))
	case "WORKDIR":
		i.last.workdir = rest
		i.mustMake(filepath.Join(i.last.dir, rest))
	case "COPY":
		i.copy(strings.Fields(rest))
	case "RUN":
		i.run(rest)
	case "USER":
		i.user = rest
	case "ENTRYPOINT":
		if err := json.Unmarshal([]byte(rest), &i.entrypoint); err != nil {
			i.t.Fatalf("ENTRYPOINT %s: %v", rest, err)
		}
	case "EXPOSE":
	default:
		i.t.Fatalf("%s %s: not understood", step, rest)
	}
}

func (i *image) from(words []string) {
	i.last = &stage{dir: i.t.TempDir(), scratch: words[0] == "scratch", workdir: "/"}
	if len(words) == 3 && words[1] == "AS" {
		i.stages[words[2]] = i.last
	}
}

func (i *image) copy(words []string) {
	i.t.Helper()
	to := words[len(words)-1]
	target := filepath.Join(i.last.dir, to)
	if !path.IsAbs(to) {
		target = filepath.Join(i.last.dir, i.last.workdir, to)
	}
	stageName, fromStage := strings.CutPrefix(words[0], "--from=")
	for _, from := range words[:len(words)-1] {
		switch {
		case strings.HasPrefix(from, "--"):
		case fromStage:
			i.copyPath(i.find(i.stages[stageName], from), target)
		case from == ".":
			i.copyContext(target)
		default:
			i.copyPath(filepath.Join(repository, from), target)
		}
	}
}

// find looks for a file of a stage, in its own files and then in its base.
func (i *image) find(s *stage, name string) string {
	i.t.Helper()
	if own := filepath.Join(s.dir, name); exists(own) {
		return own
	}
	if s.scratch || !exists(name) {
		i.t.Fatalf("%s: the stage has none", name)
	}
	return name
}

func (i *image) copyPath(from, to string) {
	i.t.Helper()
	i.mustMake(to)
	output(i.t, "cp", "--dereference", from, to)
}

// copyContext copies the repository but for what .dockerignore names, and its
// history: the version has no revision without that.
func (i *image) copyContext(to string) {
	i.t.Helper()
	i.mustMake(to)
	output(i.t, "tar", "--create", "--directory="+repository, "--exclude-from="+repository+"/.dockerignore", "--exclude=./.git", "--file="+to+".tar", ".")
	output(i.t, "tar", "--extract", "--directory="+to, "--file="+to+".tar")
}

func (i *image) run(command string) {
	i.t.Helper()
	cmd := exec.CommandContext(i.t.Context(), "/bin/sh", "-c", command)
	cmd.Dir = filepath.Join(i.last.dir, i.last.workdir)
	if out, err := cmd.CombinedOutput(); err != nil {
		i.t.Fatalf("RUN %s: %v\n%s", command, err, out)
	}
}

func (i *image) mustMake(dir string) {
	i.t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		i.t.Fatal(err)
	}
}

// ids are those of the image's user, which it must name by number.
func (i *image) ids() (uid, gid uint32) {
	i.t.Helper()
	if _, err := fmt.Sscanf(i.user, "%d:%d", &uid, &gid); err != nil || uid == 0 || gid == 0 {
		i.t.Fatalf("USER %s: got %v; want numbers, and none of them root's", i.user, err)
	}
	return uid, gid
}

// files are all that the image has.
func (i *image) files() (names []string) {
	i.t.Helper()
	for _, p := range (root{i.t, i.last.dir}).files() {
		if info, err := os.Lstat(i.last.dir + p); err == nil && !info.IsDir() {
			names = append(names, p)
		}
	}
	slices.Sort(names)
	return names
}
