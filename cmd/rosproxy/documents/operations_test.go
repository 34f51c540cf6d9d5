package documents

import (
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rosproxy/rosproxy/proxy"
)

// entries are what the tables below a heading of OPERATIONS.md are about.
func entries(t *testing.T, heading string) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, row := range Rows(Section(t, Operations, heading)) {
		if len(row) != 3 || row[1] == "" || row[2] == "" {
			t.Errorf("%s: want what is seen, where to look and what to do; got %q", heading, row)
		}
		for _, what := range Quotes(row[0]) {
			if all[what] {
				t.Errorf("%s has %q twice", heading, what)
			}
			all[what] = true
		}
	}
	return all
}

func TestOperationsSaysWhatToDoAboutEveryWarningAndError(t *testing.T) {
	text := Section(t, Operations, "## When the log says")
	_, config, _ := strings.Cut(text, "### About the configuration")
	listed := map[string]bool{}
	for _, row := range Rows(strings.TrimSuffix(text, config)) {
		if len(row) != 3 || len(Quotes(row[0])) != 1 || row[1] == "" || row[2] == "" {
			t.Errorf("want a message, where to look and what to do; got %q", row)
			continue
		}
		listed[Quotes(row[0])[0]] = true
	}
	logs := map[string]bool{}
	for _, l := range logCalls(t) {
		if !slices.Contains(l.levels, "warn") && !slices.Contains(l.levels, "error") || l.depends && l.message == "master's host name is looked up again" {
			continue
		}
		logs[l.message] = true
		if !isListed(listed, l.message) {
			t.Errorf("%s does not say what to do about %q (%s)", Operations, l.message, l.where)
		}
	}
	for message := range listed {
		if !logs[strings.TrimSuffix(message, "...")] {
			t.Errorf("%s has %q, which is no warning and no error", Operations, message)
		}
	}
}

func TestOperationsExplainsEveryWarningAboutTheConfiguration(t *testing.T) {
	var documented []string
	for _, row := range Rows(Section(t, Operations, "### About the configuration, at start")) {
		documented = append(documented, Quotes(row[0])...)
	}
	warnings := configWarnings(t)
	if len(warnings) < 6 {
		t.Fatalf("got %d warnings of the configuration; want more: are they found?", len(warnings))
	}
	for _, w := range warnings {
		parts := verb.Split(strings.Join(w, "%v"), -1)
		if !slices.ContainsFunc(documented, func(d string) bool { return hasAll(d, parts) }) {
			t.Errorf("%s does not explain the warning of %q", Operations, w)
		}
	}
	for _, d := range documented {
		if !slices.ContainsFunc(warnings, func(w []string) bool { return hasAll(strings.Join(w, " "), strings.Split(d, "...")) }) {
			t.Errorf("%s explains %q, which nothing warns of", Operations, d)
		}
	}
}

// hasAll reports whether a text has all of some parts, but for short ones.
func hasAll(text string, parts []string) bool {
	for _, p := range parts {
		if p = strings.TrimSpace(p); len(p) > 12 && !strings.Contains(text, p) {
			return false
		}
	}
	return true
}

// configWarnings are the texts in each warning that is added to Config.Warnings.
func configWarnings(t *testing.T) (all [][]string) {
	eachFile(t, func(_ *token.FileSet, f *ast.File) {
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 2 || !isWarnings(call.Args[0]) {
				return true
			}
			var texts []string
			ast.Inspect(call.Args[1], func(n ast.Node) bool {
				if e, ok := n.(ast.Expr); ok {
					if text, ok := literal(e); ok {
						texts = append(texts, text)
					}
				}
				return true
			})
			all = append(all, texts)
			return true
		})
	})
	return all
}

var verb = regexp.MustCompile(`%[a-z]`)

func isWarnings(e ast.Expr) bool {
	field, ok := e.(*ast.SelectorExpr)
	return ok && field.Sel.Name == "Warnings"
}

func TestOperationsExplainsEveryCloseReason(t *testing.T) {
	listed := entries(t, "## When connections close")
	for r := range proxy.NumReasons {
		reason := proxy.Reason(r).String()
		if !listed[reason] {
			t.Errorf("%s does not explain the reason %s", Operations, reason)
		}
		delete(listed, reason)
	}
	for left := range listed {
		t.Errorf("%s explains %q, which is no reason", Operations, left)
	}
}

func TestOperationsExplainsWhyAHealthCheckFails(t *testing.T) {
	listed := entries(t, "## When a health check fails")
	reasons := healthReasons(t)
	if len(reasons) < 8 {
		t.Fatalf("got %q; want more reasons: are they found?", reasons)
	}
	for _, reason := range reasons {
		if !listed[reason] {
			t.Errorf("%s does not explain %q", Operations, reason)
		}
		delete(listed, reason)
	}
	for left := range listed {
		t.Errorf("%s explains %q, which no health check says", Operations, left)
	}
}

// healthReasons are the constants of package admin by which an instance is not
// ready, and the states of package discovery but the one that is.
func healthReasons(t *testing.T) (all []string) {
	eachFile(t, func(_ *token.FileSet, f *ast.File) {
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			value := spec.Values[0]
			name, typed := spec.Names[0].Name, false
			if of, ok := spec.Type.(*ast.Ident); ok {
				typed = of.Name == "State" && f.Name.Name == "discovery"
			}
			if f.Name.Name == "admin" {
				if state, ok := value.(*ast.CallExpr); ok && isMethod(state, "State") && len(state.Args) == 1 {
					value, typed = state.Args[0], true
				}
				typed = typed || strings.HasPrefix(name, "reason")
			}
			if text, ok := literal(value); ok && typed && text != "found" {
				all = append(all, text)
			}
			return true
		})
	})
	return all
}
