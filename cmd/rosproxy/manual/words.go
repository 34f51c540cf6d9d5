package main

import (
	"regexp"
	"strings"

	"github.com/rosproxy/rosproxy/cmd/rosproxy/internal/config"
)

var choice = regexp.MustCompile(`^[a-z0-9]+(\|[a-z0-9]+)+$`)

// choices are all values that a flag takes; nil: there are too many to say.
func choices(f config.FlagUsage) []string {
	if !choice.MatchString(f.Value) {
		return nil
	}
	return strings.Split(f.Value, "|")
}

// takesFile tells whether the value is the path of a file.
func takesFile(f config.FlagUsage) bool { return f.Value == "FILE" || f.Value == "PATH" }

// runsCommand tells whether the argument is a command with its own arguments.
func runsCommand(a config.ArgUsage) bool { return a.Name == "command" && a.Many }

// brief is the first part of a help text, as shells show it beside a word.
func brief(help string) string {
	if i := strings.Index(help, ". "); i >= 0 {
		help = help[:i]
	}
	return strings.TrimSuffix(help, ".")
}

// named splits the commands into those that have the flags of run, which may be
// given without the command's name, and the others.
func named(commands []config.Usage) (run config.Usage, others []config.Usage) {
	for _, c := range commands {
		switch c.Name {
		case config.Run:
			run = c
		case config.Check: // as run
		default:
			others = append(others, c)
		}
	}
	return run, others
}

// flagWords are the flags of a command as they are typed.
func flagWords(c config.Usage) string {
	var words []string
	for _, f := range c.Flags {
		words = append(words, "--"+f.Name)
	}
	return strings.Join(words, " ")
}

func commandWords(commands []config.Usage) string {
	var words []string
	for _, c := range commands {
		words = append(words, string(c.Name))
	}
	return strings.Join(words, " ")
}

// quoted is s as one word of a POSIX shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
