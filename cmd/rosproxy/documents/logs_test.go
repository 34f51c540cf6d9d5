package documents

import (
	"slices"
	"strings"
	"testing"
)

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
	for _, row := range Rows(Section(t, Reference, "## Logs")) {
		if len(row) < 3 || len(Quotes(row[0])) != 1 {
			t.Errorf("want a message, its level, its fields and when it is logged; got %q", row)
			continue
		}
		message, levels, fields := Quotes(row[0])[0], row[1], Quotes(row[2])
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
