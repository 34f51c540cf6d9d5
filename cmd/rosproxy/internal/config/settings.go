package config

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/hook"
)

// settings answers the text of each flag and where it came from: the command
// line, else the environment, else the configuration file, else the default.
// What a listener has of its own comes before all of them.
type settings struct {
	own   values // of a listener in the file; nil: this is for all
	flags map[string]*kong.Flag
	args  map[string][]string // what the command line gave
	env   map[string]string
	file  file
}

func newSettings(ctx *kong.Context, env []string) settings {
	s := settings{flags: map[string]*kong.Flag{}, args: map[string][]string{}, env: map[string]string{}}
	for _, f := range ctx.Flags() {
		s.flags[f.Name] = f
	}
	for _, p := range ctx.Path {
		if p.Flag != nil {
			s.args[p.Flag.Name] = texts(p.Flag.Target)
		}
	}
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		s.env[name] = value
	}
	return s
}

// texts gives a flag's value back as text.
func texts(v reflect.Value) []string {
	if list, ok := v.Interface().([]string); ok {
		return list
	}
	return []string{fmt.Sprint(v.Interface())}
}

// value is one piece of text and where it came from.
type value struct {
	flag   string
	text   string
	from   string // the variable; empty for the command line, the file and the default
	file   string // FILE:LINE; empty: it is from nowhere there
	secret bool   // the text is not to be shown
}

// maxQuoted bounds how much of a text an error shows.
const maxQuoted = 512

// fault is the error of a value that cannot be used.
func (v value) fault(reason string, args ...any) error {
	reason = fmt.Sprintf(reason, args...)
	if v.file != "" {
		return fmt.Errorf("%s: %s%s: %s", v.file, v.flag, v.quoted(), reason)
	}
	origin := ""
	if v.from != "" {
		origin = " (from " + v.from + ")"
	}
	return fmt.Errorf("--%s%s%s: %s", v.flag, v.quoted(), origin, reason)
}

// quoted is the text as an error shows it.
func (v value) quoted() string {
	if v.secret {
		return ""
	}
	return fmt.Sprintf(" %q", Trim(v.text, maxQuoted))
}

// name is that of the flag or the key, for an error about another one.
func (v value) name() string { return v.nameOf(v.flag) }

// nameOf is another flag's name in the place where v is written.
func (v value) nameOf(flag string) string {
	if v.file != "" {
		return flag
	}
	return "--" + flag
}

// list gives the values of a flag; none when it was not given and has no default.
func (s settings) list(flag string) []value {
	f, ok := s.flags[flag]
	if !ok {
		panic("no such flag: " + flag) // a typo in config.go; every test that loads a config finds it
	}
	var values []value
	variable := envName(flag)
	text, inEnv := s.variable(flag)
	switch {
	case s.own[flag] != nil:
		return s.own[flag]
	case s.args[flag] != nil:
		for _, t := range s.args[flag] {
			values = append(values, value{flag: flag, text: t})
		}
	case inEnv && f.IsSlice():
		for t := range strings.SplitSeq(text, ",") {
			values = append(values, value{flag: flag, text: strings.TrimSpace(t), from: variable})
		}
	case inEnv:
		values = append(values, value{flag: flag, text: text, from: variable})
	case s.file.values[flag] != nil:
		return s.file.values[flag]
	case f.HasDefault:
		values = append(values, value{flag: flag, text: f.Default})
	}
	return values
}

// one gives the value of a flag that is no list; ok is false when it was not
// given and has no default.
func (s settings) one(flag string) (v value, ok bool) {
	l := s.list(flag)
	if len(l) == 0 {
		return value{flag: flag}, false
	}
	return l[0], true
}

// explicit reports whether a flag was given at all.
func (s settings) explicit(flag string) bool {
	return s.given(flag) || s.file.values[flag] != nil
}

// given reports whether a flag was given besides the file.
func (s settings) given(flag string) bool {
	_, inEnv := s.variable(flag)
	return s.args[flag] != nil || inEnv
}

// variable is the text of a flag's variable; an empty one is as good as none.
func (s settings) variable(flag string) (text string, ok bool) {
	if s.flags[flag].Tag.Has(tagOnce) {
		return "", false
	}
	text = s.env[envName(flag)]
	return text, text != ""
}

// hasOwn reports whether a listener has one of these of its own.
func (s settings) hasOwn(flags ...string) bool {
	return slices.ContainsFunc(flags, func(f string) bool { return s.own[f] != nil })
}

// of gives the settings of a listener of the file.
func (s settings) of(e entry) settings {
	s.own = e.values
	return s
}

func envName(flag string) string {
	return "ROSPROXY_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// ofKubernetes are the variables that a Kubernetes Service of the name
// rosproxy puts into every container of its namespace.
var ofKubernetes = regexp.MustCompile(`^ROSPROXY_(SERVICE_(HOST|PORT(_.*)?)|PORT(_.*)?)$`)

// stray are the variables that look like ours and are not: typos.
func (s settings) stray() []string {
	known := map[string]bool{}
	for flag := range s.flags {
		known[envName(flag)] = true
	}
	ours := clientVariables()
	if s.env[hook.VariableEvent] != "" { // a command of --on-failover runs us
		ours = append(ours, hook.Variables()...)
	}
	for _, variable := range ours {
		known[variable] = true
	}
	var stray []string
	for name := range s.env {
		if strings.HasPrefix(name, "ROSPROXY_") && !known[name] && !ofKubernetes.MatchString(name) {
			stray = append(stray, name)
		}
	}
	slices.Sort(stray)
	return stray
}
