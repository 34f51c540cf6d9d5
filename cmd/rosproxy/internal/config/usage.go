package config

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// Usage is what one command takes, for the manual page and the completions of shells.
type Usage struct {
	Name  Command
	Help  string
	Flags []FlagUsage
	Args  []ArgUsage
}

// FlagUsage describes a flag.
type FlagUsage struct {
	Name       string // without the dashes
	Value      string // what the help calls its value; empty: it takes none
	Help       string
	Variable   string // of the environment; empty: it has none
	Repeatable bool
}

// ArgUsage describes an argument.
type ArgUsage struct {
	Name     string
	Help     string
	Words    []string // all that it can be; nil: anything
	Optional bool
	Many     bool
}

// Description is what the help says of all commands.
func Description() string { return description }

// Usages are all commands, in the order of the help. Those that run the proxy or
// check its configuration have the same flags.
func Usages() []Usage {
	g := modelOf(new(grammar))
	var usages []Usage
	for _, n := range g.Children {
		u := Usage{Name: Command(n.Name), Help: n.Help}
		if u.Name != Version {
			u.Flags = flagsOf(g.Node)
		}
		usages = append(usages, u)
	}
	for _, c := range clientCommands {
		m := modelOf(c.flags())
		usages = append(usages, Usage{Name: c.name, Help: c.help, Flags: flagsOf(m.Node), Args: argsOf(m.Node)})
	}
	return usages
}

func modelOf(grammar any) *kong.Application {
	k, err := kong.New(grammar, kong.Name("rosproxy"))
	if err != nil {
		panic(fmt.Sprintf("grammar %T: %v", grammar, err)) // every test that parses finds it
	}
	return k.Model
}

func flagsOf(n *kong.Node) (flags []FlagUsage) {
	for _, f := range n.Flags {
		u := FlagUsage{Name: f.Name, Help: f.Help, Repeatable: f.IsSlice()}
		if f.Name != "help" && !f.Tag.Has(tagOnce) {
			u.Variable = envName(f.Name)
		}
		if !f.IsBool() {
			u.Value = f.PlaceHolder
		}
		flags = append(flags, u)
	}
	return flags
}

func argsOf(n *kong.Node) (args []ArgUsage) {
	for _, p := range n.Positional {
		a := ArgUsage{Name: p.Name, Help: p.Help, Optional: !p.Required, Many: p.IsSlice()}
		if p.Enum != "" {
			a.Words = strings.Split(p.Enum, ",")
		}
		args = append(args, a)
	}
	return args
}
