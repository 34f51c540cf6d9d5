package documents

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	reference  = "cmd/rosproxy/README.md"
	operations = "cmd/rosproxy/OPERATIONS.md"
)

// section is what stands below a heading of a document, up to the next one of
// its rank or a higher one.
func section(t *testing.T, document, heading string) string {
	t.Helper()
	_, text, found := strings.Cut("\n"+read(t, document), "\n"+heading+"\n")
	if !found {
		t.Fatalf("%s has no %q", document, heading)
	}
	rank := len(heading) - len(strings.TrimLeft(heading, "#"))
	for i := 1; i <= rank; i++ {
		text, _, _ = strings.Cut(text, "\n"+strings.Repeat("#", i)+" ")
	}
	return text
}

// rows are the lines of the tables of a text, without heads, cell by cell.
func rows(text string) (all [][]string) {
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

// quotes are the texts that a cell has in backquotes.
func quotes(cell string) (all []string) {
	for _, m := range quoted.FindAllStringSubmatch(cell, -1) {
		all = append(all, m[1])
	}
	return all
}

// says reports whether the message of a document is the one that is logged.
func says(documented, message string) bool {
	if start, cut := strings.CutSuffix(documented, "..."); cut {
		return message == start
	}
	return documented == message
}

func TestReferenceListsEveryLineOfTheLog(t *testing.T) {
	calls := logCalls(t)
	found := map[string]bool{}
	for _, row := range rows(section(t, reference, "## Logs")) {
		if len(row) < 3 || len(quotes(row[0])) != 1 {
			t.Errorf("want a message, its level, its fields and when it is logged; got %q", row)
			continue
		}
		message, levels, fields := quotes(row[0])[0], row[1], quotes(row[2])
		if found[message] {
			t.Errorf("the reference has %q twice", message)
		}
		found[message] = true
		var may []string
		known := false
		for _, l := range calls {
			if !says(message, l.message) {
				continue
			}
			known = true
			may = append(may, l.fields...)
			if !l.hasLevels(levels) {
				t.Errorf("%q: the reference says it is of level %q; %s logs it as %s", message, levels, l.where, l.levels)
			}
			for _, f := range l.always {
				if !slices.Contains(fields, f) && f != "component" {
					t.Errorf("%q: the reference does not name its field %s (%s)", message, f, l.where)
				}
			}
		}
		if !known {
			t.Errorf("the reference has the message %q, and nothing logs it", message)
		}
		for _, f := range fields {
			if known && !slices.Contains(may, f) {
				t.Errorf("%q: the reference names its field %s, which it never has", message, f)
			}
		}
	}
	for _, l := range calls {
		if !isListed(found, l.message) {
			t.Errorf("the reference does not list %q (%s)", l.message, l.where)
		}
	}
}

func isListed(listed map[string]bool, message string) bool {
	return listed[message] || listed[message+"..."]
}

// hasLevels reports whether a line is of the levels that a document names.
func (l logged) hasLevels(documented string) bool {
	isNamed := func(level string) bool { return strings.Contains(documented, level) }
	if l.depends {
		return slices.ContainsFunc(l.levels, isNamed)
	}
	return len(l.levels) > 0 && !slices.ContainsFunc(l.levels, func(level string) bool { return !isNamed(level) })
}
