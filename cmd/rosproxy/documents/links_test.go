package documents

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A link, outside of code: [text](target); a picture may be one of HTML.
var link = regexp.MustCompile(`(?:\]\(|\bsrc(?:set)?=")([^)"\s]+)[)"]`)

func TestEveryRelativeLinkLeadsSomewhere(t *testing.T) {
	checked := 0
	for _, name := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(prose(Read(t, name)), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			checked++
			if why := broken(t, name, m[1]); why != "" {
				t.Errorf("%s: the link %s: %s", name, m[1], why)
			}
		}
	}
	if checked < 50 {
		t.Errorf("got %d relative links; want many more: are they found?", checked)
	}
}

// broken says why a link of a document leads nowhere, or nothing.
func broken(t *testing.T, from, target string) string {
	t.Helper()
	file, anchor, anchored := strings.Cut(target, "#")
	to := from
	if file != "" {
		to = path.Join(path.Dir(from), file)
	}
	if _, err := os.Stat(filepath.Join(root, to)); err != nil || strings.HasPrefix(to, "..") {
		return "there is no " + to
	}
	if anchored && !anchors(Read(t, to))[anchor] {
		return "no heading of " + to + " is called so"
	}
	return ""
}

// prose is a document without its blocks of code and its code spans.
func prose(text string) string {
	var kept strings.Builder
	fenced := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		} else if !fenced {
			kept.WriteString(line)
		}
	}
	return codeSpan.ReplaceAllStringFunc(kept.String(), func(span string) string {
		return strings.Map(func(r rune) rune {
			if strings.ContainsRune("[]()", r) {
				return '.'
			}
			return r
		}, span)
	})
}

var codeSpan = regexp.MustCompile("`[^`\n]+`")

// anchors are the names of a document's headings, as GitHub makes them: lower
// case, letters, digits, hyphens, underscores, with - for a blank.
func anchors(text string) map[string]bool {
	names := map[string]bool{}
	for line := range strings.Lines(prose(text)) {
		heading, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " ")
		if !ok || line[0] != '#' {
			continue
		}
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '_':
				return r
			}
			return -1
		}, strings.ToLower(strings.TrimSpace(heading)))
		names[name] = true
	}
	return names
}

func TestHeadingsOfADocumentDiffer(t *testing.T) {
	for _, name := range documents(t) {
		if name == "CHANGELOG.md" {
			continue
		}
		seen := map[string]bool{}
		for line := range strings.Lines(prose(Read(t, name))) {
			if line[0] != '#' {
				continue
			}
			if seen[line] {
				t.Errorf("%s: got the heading %q twice; want each once, or links to it are ambiguous", name, strings.TrimSpace(line))
			}
			seen[line] = true
		}
	}
}
