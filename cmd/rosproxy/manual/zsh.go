package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
)

// writeZsh writes a completion function for zsh.
func writeZsh(w io.Writer, commands []config.Usage) {
	run, others := named(commands)
	fmt.Fprintf(w, "#compdef rosproxy\n\n_rosproxy() {\n\tlocal -a subcommands\n\tsubcommands=(\n")
	for _, c := range commands {
		fmt.Fprintf(w, "\t\t%s\n", quoted(string(c.Name)+":"+brief(c.Help)))
	}
	// A command's own words are completed as if its name were the program's.
	fmt.Fprintf(w, "\t)\n\tlocal command=\n\tif ((CURRENT > 2)) && [[ $words[2] != -* ]]; then\n")
	fmt.Fprintf(w, "\t\tcommand=$words[2]\n\t\tshift words\n\t\t((CURRENT--))\n\tfi\n\tcase $command in\n")
	for _, c := range others {
		zshCase(w, string(c.Name), c, "")
	}
	zshCase(w, "run|check", run, "")
	zshCase(w, "", run, `'1:command:{_describe command subcommands}'`)
	fmt.Fprintf(w, "\tesac\n}\n\n_rosproxy \"$@\"\n")
}

// zshCase completes the flags and arguments of a command.
func zshCase(w io.Writer, pattern string, c config.Usage, first string) {
	if pattern == "" {
		pattern = "''"
	}
	var specs []string
	before := ""
	if first != "" {
		specs = append(specs, first)
	}
	for _, f := range c.Flags {
		specs = append(specs, quoted(zshFlag(f)))
	}
	for _, a := range c.Args {
		if runsCommand(a) {
			before = zshBehind
			continue
		}
		specs = append(specs, quoted(zshArg(a)))
	}
	if len(specs) == 0 {
		fmt.Fprintf(w, "\t%s) ;;\n", pattern)
		return
	}
	fmt.Fprintf(w, "\t%s)\n%s\t\t_arguments -S \\\n\t\t\t%s\n\t\t;;\n", pattern, before, strings.Join(specs, " \\\n\t\t\t"))
}

var inZshSpec = strings.NewReplacer(`\`, `\\`, `[`, `\[`, `]`, `\]`, `:`, `\:`)

func zshFlag(f config.FlagUsage) string {
	many := ""
	if f.Repeatable {
		many = "*"
	}
	help := "[" + inZshSpec.Replace(brief(f.Help)) + "]"
	switch {
	case f.Value == "":
		return many + "--" + f.Name + help
	case takesFile(f):
		return many + "--" + f.Name + "=" + help + ":file:_files"
	case choices(f) != nil:
		return many + "--" + f.Name + "=" + help + ":value:(" + strings.Join(choices(f), " ") + ")"
	}
	return many + "--" + f.Name + "=" + help + ":" + inZshSpec.Replace(f.Value) + ": "
}

func zshArg(a config.ArgUsage) string {
	if len(a.Words) > 0 {
		return ":" + a.Name + ":(" + strings.Join(a.Words, " ") + ")"
	}
	return ":" + a.Name + ": "
}

// zshBehind completes what stands behind -- as a command line of its own.
const zshBehind = `		local behind=${words[(i)--]}
		if ((behind < CURRENT)); then
			shift $behind words
			((CURRENT -= behind))
			_normal
			return
		fi
`
