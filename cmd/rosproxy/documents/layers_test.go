package documents

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"strings"
	"testing"
)

// upwards are the references that the document owns up to: from a file to one of
// a higher layer.
var upwards = map[[2]string]bool{{"loop.go", "releasequeue.go"}: true}

func TestFilesOfTheProxyUseOnlyTheirOwnLayerAndThoseBelow(t *testing.T) {
	const dir = "proxy"
	layer := map[string]int{} // by file; 0 is the highest
	for i, row := range Rows(Section(t, dir+"/README.md", "## Files")) {
		for _, name := range Quotes(row[1]) {
			layer[name] = i
		}
	}
	used := 0
	for r := range references(t, filepath.Join(root, dir)) {
		used++
		if layer[r[0]] > layer[r[1]] && !upwards[r] {
			t.Errorf("%s uses what is in %s, which is on a higher layer", r[0], r[1])
		}
	}
	if used < 100 {
		t.Errorf("got %d pairs of files of which one uses the other; want more: are they found?", used)
	}
}

// references are the pairs of files of the package in dir of which the first uses
// a declaration, a method or a field of the second.
func references(t *testing.T, dir string) map[[2]string]bool {
	t.Helper()
	set := token.NewFileSet()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	info := types.Info{Uses: map[*ast.Ident]types.Object{}}
	// What is imported is not looked at: the errors are those of its names.
	config := types.Config{Importer: noImports{}, Error: func(error) {}}
	pkg, _ := config.Check(dir, set, files, &info)
	pairs := map[[2]string]bool{}
	for use, object := range info.Uses {
		field, isVariable := object.(*types.Var)
		isLocal := object.Parent() != pkg.Scope() && isVariable && !field.IsField()
		if object.Pkg() != pkg || isLocal {
			continue
		}
		from, to := filepath.Base(set.Position(use.Pos()).Filename), filepath.Base(set.Position(object.Pos()).Filename)
		if from != to {
			pairs[[2]string{from, to}] = true
		}
	}
	return pairs
}

// noImports leaves out what a package imports.
type noImports struct{}

func (noImports) Import(string) (*types.Package, error) { return nil, errors.New("not looked at") }
