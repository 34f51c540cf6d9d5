package documents

import (
	"go/ast"
	"go/token"
	"regexp"
	"testing"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/hook"
)

// A variable is read by os.Getenv, or looked for in a list of NAME=VALUE.
var entryOf = regexp.MustCompile(`^([A-Z]+(?:_[A-Z]+)+)=$`) // what systemd is told (STATUS=) has no _

func TestReferenceListsEveryVariableThatTheCodeNames(t *testing.T) {
	documented := Named(Section(t, Reference, "### Environment"))
	found := map[string]bool{}
	eachFile(t, func(_ *token.FileSet, f *ast.File) {
		ast.Inspect(f, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && isMethod(call, "Getenv", "LookupEnv") {
				if name, ok := literal(call.Args[0]); ok {
					found[name] = true
				}
			}
			if e, ok := n.(ast.Expr); ok {
				if text, ok := literal(e); ok {
					if m := entryOf.FindStringSubmatch(text); m != nil {
						found[m[1]] = true
					}
				}
			}
			return true
		})
	})
	if len(found) < 8 {
		t.Fatalf("got %v; want more variables: are they found?", found)
	}
	for name := range found {
		if !documented[name] {
			t.Errorf("the reference does not list the variable %s", name)
		}
	}
}

func TestReferenceListsTheVariablesOfTheCommandForFailovers(t *testing.T) {
	documented := Named(Section(t, Reference, "### A command for failovers"))
	for _, name := range hook.Variables() {
		if !documented[name] {
			t.Errorf("the reference does not list the variable %s", name)
		}
		delete(documented, name)
	}
	for left := range documented {
		t.Errorf("the reference lists the variable %s, which no command is given", left)
	}
}
