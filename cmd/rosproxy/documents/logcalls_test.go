package documents

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// logged is a line that the program can write to its log.
type logged struct {
	message string   // up to what is put in at run time, if anything is
	levels  []string // one, or several where it depends
	depends bool     // the levels are those of all lines of the function
	always  []string // the fields that every such line has
	fields  []string // those and the others that it may have
	where   string
}

// ourPackages are the directories of what rosproxy is built from.
var ourPackages = []string{"cmd/rosproxy", "proxy", "discovery", "drain"}

// eachFile calls f for each file of Go that rosproxy is built from.
func eachFile(t *testing.T, f func(*token.FileSet, *ast.File)) {
	t.Helper()
	for _, dir := range ourPackages {
		files := token.NewFileSet()
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && (d.Name() == "testdata" || d.Name() == "consultest"):
				return fs.SkipDir
			case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
			if err == nil {
				f(files, file)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// logCalls finds all lines that are logged. A message that is no text where it
// is logged must come from a parameter of the function around it, whose callers
// are then looked at.
func logCalls(t *testing.T) []logged {
	t.Helper()
	s := logScan{t: t, texts: map[string]string{}, context: map[string][]string{}}
	eachFile(t, func(_ *token.FileSet, f *ast.File) { s.collect(f) })
	eachFile(t, func(files *token.FileSet, f *ast.File) { s.scan(files, f) })
	eachFile(t, func(files *token.FileSet, f *ast.File) { s.scanHelped(files, f) })
	if len(s.found) < 60 {
		t.Fatalf("got %d lines that can be logged; want many more: are they found?", len(s.found))
	}
	return s.found
}

type logScan struct {
	t       *testing.T
	found   []logged
	texts   map[string]string   // constants
	context map[string][]string // by package: the fields of its loggers
	helpers []helper
}

// helper is a function that logs the message it is given, and the fields behind
// that, name and value in turn.
type helper struct {
	name, pkg string
	param     int
	logged
}

func (h helper) isCalled(call *ast.CallExpr, pkg string) bool {
	return isMethod(call, h.name) && h.param < len(call.Args) && (ast.IsExported(h.name) || pkg == h.pkg)
}

// collect notes a file's constants, and the fields that its loggers add.
func (s *logScan) collect(f *ast.File) {
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ValueSpec:
			for i, name := range n.Names {
				if i < len(n.Values) {
					if text, ok := literal(n.Values[i]); ok {
						s.texts[name.Name] = text
					}
				}
			}
		case *ast.CallExpr:
			if chain := chainOf(n); slices.Contains(chain.names, "With") && chain.names[0] == "Logger" {
				s.context[f.Name.Name] = append(s.context[f.Name.Name], chain.fields...)
			}
		}
		return true
	})
}

func (s *logScan) scan(files *token.FileSet, f *ast.File) {
	for _, d := range f.Decls {
		in, ok := d.(*ast.FuncDecl)
		if !ok || in.Body == nil {
			continue
		}
		ast.Inspect(in.Body, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || !isMethod(call, "Msg", "Msgf") {
				return true
			}
			l := s.lineOf(call, in, f)
			l.where = files.Position(call.Pos()).String()
			if slices.Equal(l.levels, []string{"debug"}) {
				return true
			}
			if text, ok := s.text(call.Args[0]); ok {
				l.message = text
				s.found = append(s.found, l)
			} else if name, ok := call.Args[0].(*ast.Ident); ok && paramOf(in, name.Name) >= 0 {
				s.helpers = append(s.helpers, helper{in.Name.Name, f.Name.Name, paramOf(in, name.Name), l})
			} else if name.Name != "w" { // the warnings of the configuration, which have a test of their own
				s.t.Errorf("%s: the message is made at run time", l.where)
			}
			return true
		})
	}
}

// scanHelped finds what is logged by the helpers.
func (s *logScan) scanHelped(files *token.FileSet, f *ast.File) {
	for _, d := range f.Decls {
		in, ok := d.(*ast.FuncDecl)
		if !ok || in.Body == nil {
			continue
		}
		ast.Inspect(in.Body, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			for _, h := range s.helpers {
				if h.isCalled(call, f.Name.Name) && !s.isHelper(in) {
					s.found = append(s.found, s.helped(h, call, in, f, files.Position(call.Pos()).String()))
				}
			}
			return true
		})
	}
}

func (s *logScan) isHelper(f *ast.FuncDecl) bool {
	return slices.ContainsFunc(s.helpers, func(h helper) bool { return h.name == f.Name.Name })
}

// helped is what a call of a helper logs.
func (s *logScan) helped(h helper, call *ast.CallExpr, in *ast.FuncDecl, f *ast.File, where string) logged {
	l := h.logged
	l.where = where
	message, ok := s.text(call.Args[h.param])
	if !ok {
		s.t.Errorf("%s: the message is made at run time", where)
	}
	l.message = message
	l.always = slices.Clone(l.always)
	for i := h.param + 1; i < len(call.Args); i += 2 {
		if text, ok := literal(call.Args[i]); ok {
			l.always = append(l.always, text)
		}
	}
	l.fields = append(slices.Concat(h.fields, l.always, s.context[f.Name.Name]), textsIn(in.Body)...)
	if h.levels == nil {
		if l.levels = levelsOf(selectorsIn(call)); l.levels == nil {
			l.levels, l.depends = levelsOf(selectorsIn(in.Body)), true
		}
	}
	return l
}

// lineOf tells levels and fields of what a call logs.
func (s *logScan) lineOf(call *ast.CallExpr, in *ast.FuncDecl, f *ast.File) logged {
	own, all := chainOf(call), chain{}
	ast.Inspect(in.Body, func(n ast.Node) bool {
		if c, ok := n.(*ast.CallExpr); ok {
			one := chainOf(c)
			all.names, all.fields = append(all.names, one.names...), append(all.fields, one.fields...)
		}
		return true
	})
	l := logged{levels: levelsOf(own.names), always: own.fields, fields: append(all.fields, s.context[f.Name.Name]...)}
	if l.levels == nil && !slices.Contains(own.names, "WithLevel") { // else it is for a helper's caller to say
		l.levels = levelsOf(selectorsIn(in.Body))
		l.depends = !slices.Contains(all.names, "WithLevel")
	}
	return l
}
