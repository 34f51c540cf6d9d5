package documents

import (
	"go/ast"
	"go/token"
	"slices"
	"strconv"
)

// What is read off a piece of source, for logScan.

// textsIn are all the texts below a node, the names of fields among them.
func textsIn(n ast.Node) (all []string) {
	ast.Inspect(n, func(n ast.Node) bool {
		if e, ok := n.(ast.Expr); ok {
			if text, ok := literal(e); ok {
				all = append(all, text)
			}
		}
		return true
	})
	return all
}

// selectorsIn are the names behind a dot below a node.
func selectorsIn(n ast.Node) (all []string) {
	ast.Inspect(n, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			all = append(all, s.Sel.Name)
		}
		return true
	})
	return all
}

// chain is what a call is made of: its methods, the last one first, and the
// fields that they add to a line.
type chain struct{ names, fields []string }

func chainOf(call *ast.CallExpr) (c chain) {
	for {
		method, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return c
		}
		c.names = append(c.names, method.Sel.Name)
		if text, ok := firstText(call); ok && slices.Contains(fieldMethods, method.Sel.Name) {
			c.fields = append(c.fields, text)
		} else if method.Sel.Name == "Err" && len(call.Args) == 1 {
			c.fields = append(c.fields, "error")
		}
		if call, ok = method.X.(*ast.CallExpr); !ok {
			return c
		}
	}
}

// fieldMethods are those of zerolog that add a field.
var fieldMethods = []string{"Str", "Strs", "Stringer", "Int", "Int64", "Uint64", "Float64", "Bool", "Time", "Dur", "AnErr"}

func levelsOf(names []string) (levels []string) {
	for _, level := range []struct{ method, name string }{{"Debug", "debug"}, {"Info", "info"}, {"Warn", "warn"}, {"Error", "error"}} {
		if slices.Contains(names, level.method) || slices.Contains(names, level.method+"Level") {
			levels = append(levels, level.name)
		}
	}
	return levels
}

// text is what an expression says, up to where that is made at run time.
func (s *logScan) text(e ast.Expr) (string, bool) {
	if sum, ok := e.(*ast.BinaryExpr); ok {
		return s.text(sum.X)
	}
	if name, ok := e.(*ast.Ident); ok {
		text, ok := s.texts[name.Name]
		return text, ok
	}
	return literal(e)
}

func literal(e ast.Expr) (string, bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(l.Value)
	return text, err == nil
}

func firstText(call *ast.CallExpr) (string, bool) {
	if len(call.Args) == 0 {
		return "", false
	}
	return literal(call.Args[0])
}

func isMethod(call *ast.CallExpr, names ...string) bool {
	method, ok := call.Fun.(*ast.SelectorExpr)
	return ok && slices.Contains(names, method.Sel.Name)
}

// paramOf is the place of a parameter of a function; -1: it has none of this name.
func paramOf(f *ast.FuncDecl, name string) int {
	i := 0
	for _, field := range f.Type.Params.List {
		for _, n := range field.Names {
			if n.Name == name {
				return i
			}
			i++
		}
	}
	return -1
}
