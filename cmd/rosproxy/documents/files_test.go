package documents

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestEveryFileHasItsPlaceInTheDocumentOfItsPackage(t *testing.T) {
	for _, dir := range []string{"proxy", "discovery"} {
		document := dir + "/README.md"
		listed := map[string]bool{}
		for _, row := range Rows(Section(t, document, "## Files")) {
			for _, name := range Quotes(row[1]) {
				if listed[name] {
					t.Errorf("%s lists %s twice", document, name)
				}
				listed[name] = true
				if _, err := os.Stat(filepath.Join(root, dir, name)); err != nil && !strings.HasPrefix(name, "-") {
					t.Errorf("%s lists %s, which is not there", document, name)
				}
			}
		}
		files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
		if err != nil || len(files) < 20 {
			t.Fatalf("got %d files of %s, %v; want many", len(files), dir, err)
		}
		for _, f := range files {
			if name := filepath.Base(f); !listed[name] && !strings.HasSuffix(name, "_test.go") {
				t.Errorf("%s does not list %s", document, name)
			}
		}
	}
}

// A file of Go in backquotes: with its directory, or the name alone.
var goFile = regexp.MustCompile("`(?:[a-z_/]*/)?([a-z_]+\\.go)`")

func TestEveryFileThatADocumentNamesIsThere(t *testing.T) {
	there := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		there[filepath.Base(path)] = true
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, document := range documents(t) {
		for _, m := range goFile.FindAllStringSubmatch(Read(t, document), -1) {
			named++
			if !there[m[1]] {
				t.Errorf("%s names %s, which is not there", document, m[1])
			}
		}
	}
	if named < 80 {
		t.Errorf("got %d files that are named; want more: are they found?", named)
	}
}
