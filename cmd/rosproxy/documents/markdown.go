package documents

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The documents that tests hold against the program.
const (
	Reference  = "cmd/rosproxy/README.md"
	Operations = "cmd/rosproxy/OPERATIONS.md"
)

// Root is the directory of the repository.
func Root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "CHANGELOG.md")); err == nil {
			return dir
		}
	}
	t.Fatal("the repository's root is not above this directory")
	return ""
}

// Read returns a file of the repository.
func Read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(Root(t), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Section is what stands below a heading of a document, up to the next one of
// its rank or a higher one.
func Section(t *testing.T, document, heading string) string {
	t.Helper()
	_, text, found := strings.Cut("\n"+Read(t, document), "\n"+heading+"\n")
	if !found {
		t.Fatalf("%s has no %q", document, heading)
	}
	rank := len(heading) - len(strings.TrimLeft(heading, "#"))
	fenced, at := false, 0
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		hashes := len(line) - len(strings.TrimLeft(line, "#"))
		if !fenced && hashes > 0 && hashes <= rank && line[hashes] == ' ' {
			break
		}
		at += len(line)
	}
	return text[:at]
}

// Rows are the lines of the tables of a text, without heads, cell by cell.
func Rows(text string) (all [][]string) {
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.TrimSpace(line))
	}
	for i, line := range lines {
		isHead := i+1 < len(lines) && strings.HasPrefix(lines[i+1], "|--")
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|--") || isHead {
			continue
		}
		var row []string
		line = strings.ReplaceAll(line, `\|`, "\x00")
		for _, cell := range strings.Split(line[1:len(line)-1], "|") {
			row = append(row, strings.TrimSpace(strings.ReplaceAll(cell, "\x00", "|")))
		}
		all = append(all, row)
	}
	return all
}

var quoted = regexp.MustCompile("`([^`]+)`")

// Quotes are the texts that a cell has in backquotes.
func Quotes(cell string) (all []string) {
	for _, m := range quoted.FindAllStringSubmatch(cell, -1) {
		all = append(all, m[1])
	}
	return all
}

// Named are the texts in backquotes that the rows of some tables begin with.
func Named(text string) map[string]bool {
	all := map[string]bool{}
	for _, row := range Rows(text) {
		for _, name := range Quotes(row[0]) {
			all[name] = true
		}
	}
	return all
}

// Block is a fenced block of a document.
type Block struct {
	Language string
	Text     string
	Above    string // the line above it, such as <!-- a comment -->
	Line     int    // of its first line of text, from 1
}

// Blocks are the fenced blocks of a text.
func Blocks(text string) (all []Block) {
	var block *Block
	above, line := "", 0
	for l := range strings.Lines(text) {
		line++
		switch language, fence := strings.CutPrefix(strings.TrimSpace(l), "```"); {
		case fence && block == nil:
			block = &Block{Language: language, Above: above, Line: line + 1}
		case fence:
			all, block = append(all, *block), nil
		case block != nil:
			block.Text += l
		}
		above = strings.TrimSpace(l)
	}
	return all
}
