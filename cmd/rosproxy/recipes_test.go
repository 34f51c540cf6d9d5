package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A recipe in the README is a file of testdata, whole, in a block that follows
// a line with its name.
var (
	recipeName = regexp.MustCompile(`(?m)^<!-- (testdata/\S+) -->$`)
	recipeText = regexp.MustCompile("(?s)^\n```[a-z]*\n(.*?)```\n")
)

func readme(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestReadmeShowsEveryRecipeAsTheTestsRunIt(t *testing.T) {
	text := readme(t)
	shown := map[string]bool{}
	for _, at := range recipeName.FindAllStringSubmatchIndex(text, -1) {
		name := text[at[2]:at[3]]
		shown[name] = true
		file, err := os.ReadFile(filepath.Join("../..", name))
		if err != nil {
			t.Errorf("README shows %s: %v", name, err)
			continue
		}
		block := recipeText.FindStringSubmatch(text[at[1]:])
		switch {
		case block == nil:
			t.Errorf("README names %s, and no block follows", name)
		case block[1] != string(file):
			t.Errorf("README's block of %s and the file differ:\n%s", name, firstDifference(block[1], string(file)))
		}
	}
	for _, dir := range []string{"haproxy", "nginx", "kubernetes", "systemd", "config"} {
		files, err := filepath.Glob(filepath.Join("../../testdata", dir, "*"))
		if err != nil || len(files) == 0 {
			t.Errorf("recipes in testdata/%s: got %d, %v; want some", dir, len(files), err)
		}
		for _, f := range files {
			if name := "testdata/" + dir + "/" + filepath.Base(f); !shown[name] {
				t.Errorf("README does not show %s", name)
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
			return "  README: " + g + "\n  file:   " + w
		}
	}
	return ""
}
