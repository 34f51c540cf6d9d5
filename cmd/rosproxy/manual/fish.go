package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
)

// writeFish writes a completion for fish.
func writeFish(w io.Writer, commands []config.Usage) {
	run, others := named(commands)
	fmt.Fprintf(w, "# fish completion for rosproxy\n\ncomplete -c rosproxy -f\n")
	for _, c := range commands {
		fmt.Fprintf(w, "complete -c rosproxy -n __fish_use_subcommand -a %s -d %s\n", c.Name, fishQuoted(brief(c.Help)))
	}
	fishFlags(w, "not __fish_seen_subcommand_from "+commandWords(others), run)
	for _, c := range others {
		fishFlags(w, "__fish_seen_subcommand_from "+string(c.Name), c)
	}
}

func fishFlags(w io.Writer, condition string, c config.Usage) {
	for _, f := range c.Flags {
		fmt.Fprintf(w, "complete -c rosproxy -n '%s' -l %s%s -d %s\n", condition, f.Name, fishValue(f), fishQuoted(brief(f.Help)))
	}
	for _, a := range c.Args {
		switch {
		case runsCommand(a):
			fmt.Fprintf(w, "complete -c rosproxy -n '%s; and contains -- -- (commandline -opc)' -a '(__fish_complete_command)'\n", condition)
		case len(a.Words) > 0:
			fmt.Fprintf(w, "complete -c rosproxy -n '%s' -a %s\n", condition, fishQuoted(strings.Join(a.Words, " ")))
		}
	}
}

// fishValue says what the value of a flag may be: fish would offer files.
func fishValue(f config.FlagUsage) string {
	switch {
	case f.Value == "":
		return ""
	case takesFile(f):
		return " -r -F"
	case choices(f) != nil:
		return " -x -a " + fishQuoted(strings.Join(choices(f), " "))
	}
	return " -x"
}

var inFish = strings.NewReplacer(`\`, `\\`, `'`, `\'`)

func fishQuoted(s string) string { return "'" + inFish.Replace(s) + "'" }
