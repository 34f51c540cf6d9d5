package config

import "go.yaml.in/yaml/v3"

// scalar reads one value, which stands at a node.
func (r *fileReader) scalar(name string, at, n *yaml.Node) (value, error) {
	if r.count++; r.count > maxFileValues {
		return value{}, r.fault(at, "%s: more than %d values in this file", name, maxFileValues)
	}
	if n.Kind != yaml.ScalarNode {
		return value{}, r.fault(at, "%s: not a single value", name)
	}
	v := value{flag: name, text: n.Value, file: r.at(at)}
	switch kind, tag := r.kindOf(name), n.ShortTag(); {
	case tag == "!!null":
		return v, r.fault(at, "%s: no value", name)
	case kind == number && tag != "!!int":
		return v, v.fault("not a whole number")
	case kind == truth && tag != "!!bool":
		return v, v.fault("neither true nor false")
	case kind == duration && tag == "!!int" && n.Value == "0":
	case kind == duration && tag != "!!str":
		return v, v.fault("not a duration such as 500ms, 10s or 5m")
	case kind == text && tag != "!!str":
		return v, v.fault("not text; put it in quotes if it is meant to be")
	}
	return v, nil
}

// kind is what a value of a file must be in YAML. What its text must be is
// judged with that of the flags.
type kind int

const (
	text kind = iota
	number
	duration
	truth
)

// kindOf tells the kind of a key from the flag's own words for its value.
func (r *fileReader) kindOf(name string) kind {
	flag := r.flags[name]
	switch {
	case flag == nil:
		return text
	case flag.IsBool():
		return truth
	case flag.PlaceHolder == "N":
		return number
	case flag.PlaceHolder == "D":
		return duration
	}
	return text
}
