package documents

import (
	"os"
	"path/filepath"
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
