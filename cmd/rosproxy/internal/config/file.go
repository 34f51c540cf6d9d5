package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// Bounds of a configuration file. 4,096 listeners with all their keys are about 2 MB.
const (
	maxFileBytes  = 8 << 20
	maxFileValues = 1 << 18 // an alias can make many of one
)

// The keys of a file that are no flags.
const (
	keyListeners = "listeners"
	keyLabel     = "label"
)

// file is what a configuration file says. The zero file says nothing.
type file struct {
	values    values
	listeners []entry
	line      string // where listeners begins, as FILE:LINE; empty: there is none
}

// entry is one listener of a file.
type entry struct {
	values values // label and listen among them
	at     string // FILE:LINE
}

// values are those of a file, or of one of its listeners, by key.
type values map[string][]value

// readFile reads the configuration file that --config names. Its keys are those of flags.
func readFile(config value, flags map[string]*kong.Flag) (file, error) {
	path := config.text
	f, err := os.Open(path)
	if err != nil {
		return file{}, config.fault("%v", withoutPath(err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return file{}, config.fault("%v", withoutPath(err))
	}
	if info.IsDir() {
		return file{}, config.fault("is a directory")
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	switch {
	case err != nil:
		return file{}, config.fault("%v", withoutPath(err))
	case len(text) > maxFileBytes:
		return file{}, config.fault("longer than %d MiB", maxFileBytes>>20)
	case len(text) == 0 && info.Mode()&(fs.ModeNamedPipe|fs.ModeSocket) != 0:
		// By a reload the defaults would take the place of what it held.
		return file{}, config.fault("a pipe, of which all has been read: a reload needs a file")
	case info.Mode().IsRegular() && len(bytes.TrimSpace(text)) == 0:
		// The same of one that was cut short, or is being written.
		return file{}, config.fault("the file is empty; if all is to be as by default, it needs a comment at least")
	}
	return parseFile(path, string(text), flags)
}

// withoutPath is the reason alone, where the path has been named already.
func withoutPath(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// parseFile understands the text of a configuration file. Every error names
// the file and the line, and the key where it is about one.
func parseFile(path, text string, flags map[string]*kong.Flag) (file, error) {
	r := &fileReader{path: path, flags: flags}
	root, err := r.document(text)
	if err != nil || root == nil {
		return file{}, err
	}
	return r.root(root)
}

// fileReader walks the nodes of a file. The depth to which it goes is that of
// the file's own form, so that an alias cannot lead it round in circles.
type fileReader struct {
	path  string
	flags map[string]*kong.Flag
	count int // values so far
}

// fault is the error of a line.
func (r *fileReader) fault(n *yaml.Node, reason string, args ...any) error {
	return fmt.Errorf("%s: %s", r.at(n), fmt.Sprintf(reason, args...))
}

// at is FILE:LINE.
func (r *fileReader) at(n *yaml.Node) string { return r.path + ":" + strconv.Itoa(n.Line) }

// document gives the one document of a file; nil: it is empty.
func (r *fileReader) document(text string) (*yaml.Node, error) {
	d := yaml.NewDecoder(strings.NewReader(text))
	var first, second yaml.Node
	switch err := d.Decode(&first); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, r.notYAML(err)
	}
	switch err := d.Decode(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		return nil, r.notYAML(err)
	default:
		return nil, r.fault(&second, "a second document; there can be one")
	}
	root := first.Content[0]
	if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" { // nothing but comments
		return nil, nil
	}
	return root, nil
}

// notYAML words an error of the YAML library, "yaml: line N: reason" as a rule.
func (r *fileReader) notYAML(err error) error {
	reason := strings.TrimPrefix(err.Error(), "yaml: ")
	line := "1"
	if rest, ok := strings.CutPrefix(reason, "line "); ok {
		if n, what, ok := strings.Cut(rest, ": "); ok {
			line, reason = n, what
		}
		if n, err := strconv.Atoi(line); err == nil && slices.Contains(countedFromZero, reason) {
			line = strconv.Itoa(n + 1)
		}
	}
	return fmt.Errorf("%s:%s: not YAML: %s", r.path, line, reason)
}

// countedFromZero are the errors of the YAML library's parser, which says the line
// before the one that it means, unlike its scanner (parser.fail in decode.go).
var countedFromZero = []string{
	"did not find expected ',' or ']'",
	"did not find expected ',' or '}'",
	"did not find expected '-' indicator",
	"did not find expected <document start>",
	"did not find expected key",
	"did not find expected node content",
}

// root reads the keys of all.
func (r *fileReader) root(n *yaml.Node) (file, error) {
	f := file{values: values{}}
	err := r.eachKey(n, func(name string, key, v *yaml.Node) (err error) {
		if name == keyListeners {
			f.line = r.at(key)
			f.listeners, err = r.listeners(v)
			return err
		}
		flag := r.flags[name]
		if flag == nil || name == "help" || name == flagConfig { // a file names no other
			return r.fault(key, "%s: no such key", name)
		}
		f.values[name], err = r.read(name, key, v, flag.IsSlice() && !(takesOne(flag) && isScalar(v)))
		return err
	})
	return f, err
}

func (r *fileReader) listeners(n *yaml.Node) ([]entry, error) {
	n = target(n)
	if n.Kind != yaml.SequenceNode {
		return nil, r.fault(n, "%s: not a list", keyListeners)
	}
	if len(n.Content) == 0 {
		return nil, r.fault(n, "%s: the list is empty", keyListeners)
	}
	if len(n.Content) > maxListens {
		return nil, r.fault(target(n.Content[maxListens]), "%s: more than %d listeners", keyListeners, maxListens)
	}
	var entries []entry
	for _, at := range n.Content {
		e, err := r.entry(at)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// entry reads one listener.
func (r *fileReader) entry(n *yaml.Node) (entry, error) {
	e := entry{values: values{}, at: r.at(n)}
	err := r.eachKey(n, func(name string, key, v *yaml.Node) (err error) {
		flag := r.flags[name]
		switch {
		case name == keyLabel || name == flagListen:
			e.values[name], err = r.read(name, key, v, false)
		case flag == nil || !flag.Tag.Has(tagOfListener):
			return r.fault(key, "%s: no such key of a listener", name)
		default:
			kind := flag.Tag.Get(tagOfListener)
			e.values[name], err = r.read(name, key, v, kind == "list" || takesOne(flag) && !isScalar(v))
		}
		return err
	})
	if err != nil {
		return e, err
	}
	for _, name := range []string{keyLabel, flagListen} {
		if e.values[name] == nil {
			return e, fmt.Errorf("%s: %s: missing; every listener needs one", e.at, name)
		}
	}
	return e, nil
}

// eachKey calls f for each key of a map, none of which may come twice.
func (r *fileReader) eachKey(n *yaml.Node, f func(name string, key, v *yaml.Node) error) error {
	n = target(n)
	if n.Kind != yaml.MappingNode {
		return r.fault(n, "not a map of keys and values")
	}
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, v := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			return r.fault(key, "a key that is no word")
		}
		name := Trim(key.Value, maxLabel)
		if name == "<<" {
			return r.fault(key, "<<: merge keys are not understood; write the keys out")
		}
		if line, again := first[name]; again {
			return r.fault(key, "%s: a second time, the first is on line %d", name, line)
		}
		first[name] = key.Line
		if err := f(name, key, v); err != nil {
			return err
		}
	}
	return nil
}

// read gives the values of a key: one, or those of a list.
func (r *fileReader) read(name string, key, n *yaml.Node, isList bool) ([]value, error) {
	n = target(n)
	if !isList {
		v, err := r.scalar(name, key, n)
		return []value{v}, err
	}
	if n.Kind != yaml.SequenceNode {
		if isScalar(n) && n.ShortTag() != "!!null" {
			return nil, r.fault(key, "%s %q: not a list, such as [%[2]q]", name, Trim(n.Value, maxQuoted))
		}
		return nil, r.fault(key, "%s: not a list", name)
	}
	if len(n.Content) == 0 {
		return nil, r.fault(key, "%s: the list is empty", name)
	}
	var all []value
	for _, one := range n.Content {
		v, err := r.scalar(name, one, target(one))
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

// takesOne reports whether the key of a flag takes a list, and a value alone as well.
func takesOne(flag *kong.Flag) bool { return flag.Tag.Get(tagOfListener) == "some" }

func isScalar(n *yaml.Node) bool { return target(n).Kind == yaml.ScalarNode }

// target is what an alias stands for, else the node itself.
func target(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}
