package documents

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A recipe in a document is a file of testdata, whole, in a block that follows
// a line with its name.
var (
	recipeName = regexp.MustCompile(`(?m)^<!-- (testdata/\S+) -->$`)
	recipeText = regexp.MustCompile("(?s)^\n```[a-z]*\n(.*?)```\n")
)

func TestRecipesAreShownAsTheTestsRunThem(t *testing.T) {
	shown := map[string]bool{}
	for _, document := range documents(t) {
		text := Read(t, document)
		for _, at := range recipeName.FindAllStringSubmatchIndex(text, -1) {
			name := text[at[2]:at[3]]
			shown[name] = true
			file, err := os.ReadFile(filepath.Join(root, name))
			if err != nil {
				t.Errorf("%s shows %s: %v", document, name, err)
				continue
			}
			block := recipeText.FindStringSubmatch(text[at[1]:])
			switch {
			case block == nil:
				t.Errorf("%s names %s, and no block follows", document, name)
			case block[1] != string(file):
				t.Errorf("%s: its block of %s and the file differ:\n%s", document, name, firstDifference(block[1], string(file)))
			}
		}
	}
	for _, dir := range []string{"haproxy", "nginx", "kubernetes", "systemd", "container", "config"} {
		files, err := filepath.Glob(filepath.Join(root, "testdata", dir, "*"))
		if err != nil || len(files) == 0 {
			t.Errorf("recipes in testdata/%s: got %d, %v; want some", dir, len(files), err)
		}
		for _, f := range files {
			if name := "testdata/" + dir + "/" + filepath.Base(f); !shown[name] {
				t.Errorf("no document shows %s", name)
			}
		}
	}
}

// firstDifference shows the first line in which two texts differ.
func firstDifference(got, want string) string {
	gots, wants := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(gots), len(wants)) {
		var g, w string
		if i < len(gots) {
			g = gots[i]
		}
		if i < len(wants) {
			w = wants[i]
		}
		if g != w {
			return "  document: " + g + "\n  file:     " + w
		}
	}
	return ""
}
