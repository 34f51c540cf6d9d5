package documents

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// root is the repository, seen from here.
const root = "../../.."

// documents names every Markdown file of the repository.
func documents(t *testing.T) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(root, path)
		switch {
		case err != nil:
			return err
		case d.IsDir() && (name == "bin" || d.Name() == "node_modules" || len(d.Name()) > 2 && d.Name()[0] == '.'):
			return fs.SkipDir
		case strings.HasSuffix(name, ".md"):
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"README.md", "CHANGELOG.md", "cmd/rosproxy/README.md", "cmd/rosproxy/OPERATIONS.md", "testdata/README.md",
		"proxy/README.md", "discovery/README.md", "bench/README.md"} {
		if !slices.Contains(names, want) {
			t.Errorf("there is no %s", want)
		}
	}
	return names
}

func TestReadmeIsShort(t *testing.T) {
	const most = 250
	if n := strings.Count(Read(t, "README.md"), "\n"); n > most {
		t.Errorf("README.md: got %d lines; want %d at most: the rest belongs into the documents that its map names", n, most)
	}
}
